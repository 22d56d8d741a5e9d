"""Refined posteriors beside the counts of their own cells, and cells that have none."""

import numpy as np
import pandas as pd
import pytest
import torch
from tests.model.answers import QUERIES

from lucidvi.errors import DataError
from lucidvi.model import SCVI, RefinedPosteriors

pytestmark = pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")
WITH = "latent_posterior_parameters_with_counts"
DIFFERENTIAL = {"groupby": "label", "n_samples_overall": 50, "silent": True}
#: What every query is called with, beside the cells.
EVERY = {"differential_expression": DIFFERENTIAL, **QUERIES}


def seeded(method, *args, **kwargs):
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    torch.manual_seed(0)
    return method(*args, **kwargs)


def trained(adata, **kwargs):
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=3, **kwargs)
    model.train(max_epochs=5)
    return model


# -- names that several cells have ------------------------------------------------------------

NAMES = {
    "pairs": [f"barcode{i // 2}" for i in range(40)],
    "all the same": ["cell"] * 40,
    "once": [*(f"cell{i}" for i in range(39)), "cell0"],
    "none": [f"cell{i}" for i in range(40)],
}
CHOSEN = {
    "all": None,
    "reversed": np.arange(40)[::-1],
    "some": [39, 0, 2, 4],
    "pairs swapped": np.arange(40).reshape(-1, 2)[:, ::-1].ravel(),
    "one twice": [3, 0, 3],
    "last": [-1],
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("chosen", CHOSEN)
def test_posteriors_lie_beside_their_own_counts(make_adata, names, chosen):
    adata = make_adata(40)
    adata.obs_names = NAMES[names]
    adata.obs["number"] = np.arange(40)
    model = trained(adata)
    cells = np.arange(40) if CHOSEN[chosen] is None else np.asarray(CHOSEN[chosen]) % 40
    refined = model.refine_posterior(indices=CHOSEN[chosen])
    stored = refined.to_adata(adata)
    np.testing.assert_array_equal(stored.obs["number"], cells)
    np.testing.assert_array_equal(stored.X.toarray(), adata.X[cells].toarray())
    every = model.refine_posterior().loc
    np.testing.assert_allclose(stored.obsm["scvi_latent_qzm"], every[cells], atol=0.05)
    np.testing.assert_allclose(stored.obs["observed_lib_size"], stored.X.sum(axis=1).A1, rtol=1e-5)


def test_other_cells_of_repeated_names_are_refused(make_adata):
    adata = make_adata(40)
    adata.obs_names = NAMES["pairs"]
    model = trained(adata)
    refined = model.refine_posterior(indices=[10, 30])
    for other in (adata[::-1], adata[5:], adata[np.r_[:10, 11:40]]):
        with pytest.raises(DataError, match="more than once, such as 'barcode") as error:
            refined.to_adata(other.copy())
        assert "obs_names_make_unique" in error.value.remedy
    by_name = RefinedPosteriors(**vars(refined) | {"positions": None})
    with pytest.raises(DataError, match="positions alone"):
        by_name.to_adata(adata)


def test_cells_are_found_by_names_where_these_are_unique(make_adata):
    adata = make_adata(40)
    model = trained(adata)
    refined = model.refine_posterior(indices=[7, 3])
    stored = refined.to_adata(adata[::-1].copy())
    assert list(stored.obs_names) == ["cell7", "cell3"]
    np.testing.assert_array_equal(stored.X.toarray(), adata.X[[7, 3]].toarray())


def test_parts_are_joined(make_adata):
    adata = make_adata(40)
    adata.obs_names = NAMES["pairs"]
    model = trained(adata)
    parts = [model.refine_posterior(indices=cells) for cells in ([1, 0], [30, 3])]
    joined = RefinedPosteriors.concatenate(parts)
    stored = joined.to_adata(adata)
    np.testing.assert_array_equal(stored.X.toarray(), adata.X[[1, 0, 30, 3]].toarray())


# -- posteriors are those that the cells store, or the encoder's --------------------------------


@pytest.fixture(scope="module")
def adata(make_adata):
    return make_adata(60, seed=1)


@pytest.fixture(scope="module")
def query(make_adata):
    return make_adata(30, seed=2)


@pytest.fixture(scope="module")
def model(adata):
    """Return a model of counts, which stores nothing."""
    return trained(adata)


def bound_to(model, adata, kind):
    """Return a twin of a model whose cells store posteriors, with or without their counts."""
    twin = SCVI.from_scvi_model(model.to_scvi_model())
    twin.adata = twin.refine_posterior().to_adata(adata)
    if kind != WITH:
        twin.adata.uns["_scvi_adata_minify_type"] = kind
        twin.adata.X = twin.adata.X * 0
        twin.adata = twin.adata.copy()
    return twin


@pytest.mark.parametrize("kind", [WITH, "latent_posterior_parameters"])
@pytest.mark.parametrize("name", EVERY)
def test_cells_that_store_nothing_are_answered_by_the_encoder(
    assert_same, model, adata, query, kind, name
):
    twin = bound_to(model, adata, kind)
    for cells in (query, adata):
        got = seeded(getattr(twin, name), cells.copy(), **EVERY[name])
        want = seeded(getattr(model, name), cells.copy(), **EVERY[name])
        if isinstance(want, pd.DataFrame) and "comparison" in want:
            pd.testing.assert_frame_equal(got, want)
        else:
            assert_same(got, want)
    np.testing.assert_allclose(
        twin.get_latent_representation(), twin.adata.obsm["scvi_latent_qzm"], rtol=1e-6
    )


@pytest.mark.parametrize("bound", [False, True])
def test_cells_that_store_posteriors_are_answered_by_these(
    assert_same, model, adata, query, bound
):
    asked = bound_to(model, adata, WITH) if bound else model
    stored = model.refine_posterior(query.copy()).to_adata(query)
    stored.obsm["scvi_latent_qzm"] += 1
    mean, variance = asked.get_latent_representation(stored, return_dist=True)
    np.testing.assert_allclose(mean, stored.obsm["scvi_latent_qzm"], rtol=1e-6)
    np.testing.assert_allclose(variance, stored.obsm["scvi_latent_qzv"], rtol=1e-5)
    elsewhere = trained(query.copy())
    elsewhere.module.load_state_dict(model.module.state_dict())
    elsewhere.adata = stored
    for name in ("get_normalized_expression", "posterior_predictive_sample"):
        assert_same(seeded(getattr(asked, name), stored), seeded(getattr(elsewhere, name)))
    # Of counts, and not of what is stored.
    for name in ("get_elbo", "get_marginal_ll"):
        kwargs = EVERY[name]
        assert_same(
            seeded(getattr(asked, name), stored, **kwargs),
            seeded(getattr(model, name), query.copy(), **kwargs),
        )


@pytest.mark.parametrize("name", EVERY)
def test_counts_that_were_replaced_are_not_asked_for(model, adata, name):
    """A model of counts refuses cells without, where scvi-tools takes zeros for counts."""
    mini = bound_to(model, adata, "latent_posterior_parameters").adata.copy()
    needs_counts = {
        "get_elbo",
        "get_reconstruction_error",
        "get_marginal_ll",
        "get_latent_library_size",
        "refine_posterior",
        "get_inference_gap",
    }
    ask = getattr(model, name)
    if name in needs_counts:
        with pytest.raises(DataError, match=f"`{name}` needs counts, and the AnnData is minified"):
            ask(mini, **EVERY[name])
    elif name != "differential_expression":
        ask(mini, **EVERY[name])


def test_the_module_is_as_it_was_after_an_error(model, adata, query):
    twin = bound_to(model, adata, WITH)
    with pytest.raises(DataError):
        twin.get_elbo(query.copy(), indices=[99])
    assert twin.module.minified_data_type == WITH
    twin.get_elbo(query.copy())
    assert twin.module.minified_data_type == WITH
    twin.train(max_epochs=1)
