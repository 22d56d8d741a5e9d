"""Batches that the reference does not know: weights of their own, and of nothing else."""

import numpy as np
import pytest
import torch

from lucidvi.atlas import Reference
from lucidvi.atlas._batches import model_of_query
from lucidvi.atlas._query import read_query
from lucidvi.errors import DataError
from lucidvi.model import SCVI

pytestmark = pytest.mark.filterwarnings("ignore:The query has batches that the reference")


@pytest.fixture(scope="module")
def stranger(simulate):
    """Return cells of a batch that the reference does not know."""
    return simulate(120, seed=9, n_batches=1, first_batch=3)


def accuracy(out):
    return float((out.obs["lucidvi_label"].astype(str) == out.obs["cell_type"].astype(str)).mean())


def log_likelihood(model, adata):
    """ELBO of refined posteriors, in nats a cell."""
    return float(model.refine_posterior(adata).elbo.mean())


def test_labels_of_a_new_batch(reference, stranger):
    with pytest.warns(UserWarning, match="do.* not know: 'lane3'.*can be worse"):
        out = reference.map(stranger)
    assert accuracy(out) > 0.9
    assert list(out.uns["lucidvi"]["new_batches"]) == ["lane3"]


def test_again_it_is_the_same(reference, stranger):
    first, second = reference.map(stranger), reference.map(stranger)
    np.testing.assert_array_equal(first.obsm["X_lucidvi"], second.obsm["X_lucidvi"])


def test_only_the_new_batch_gets_weights(reference, stranger):
    model = model_of_query(reference.model, read_query(stranger, reference.model))
    after = model.module.state_dict()
    changed = []
    for name, before in reference.model.module.state_dict().items():
        if before.shape != after[name].shape:
            changed.append(name)
            assert torch.equal(after[name][:, :-1], before)
            assert not torch.equal(after[name][:, -1], before[:, -2:].mean(dim=1))
        else:
            assert torch.equal(after[name], before), name
    assert len(changed) == 1
    assert "decoder" in changed[0]


def test_the_new_weights_fit_better_than_those_of_a_known_batch(reference, stranger):
    own = model_of_query(reference.model, read_query(stranger, reference.model))
    fit = log_likelihood(own, own.adata)
    for lane in ("lane0", "lane1"):
        renamed = stranger.copy()
        renamed.obs["batch"] = lane
        other = model_of_query(reference.model, read_query(renamed, reference.model))
        assert fit > log_likelihood(other, other.adata) + 1


def test_a_new_batch_with_missing_genes(reference, stranger):
    keep = np.random.default_rng(0).random(stranger.n_vars) < 0.4
    assert accuracy(reference.map(stranger[:, keep])) > 0.9


def test_one_cell_of_a_new_batch(reference, stranger):
    assert reference.map(stranger[:1]).n_obs == 1


def test_known_cells_beside_new_ones_are_mapped_as_alone(reference, simulate):
    mixed = simulate(60, seed=11, n_batches=3, first_batch=0)
    known = (mixed.obs["batch"] != "lane2").to_numpy()
    together, alone = reference.map(mixed), reference.map(mixed[known])
    np.testing.assert_allclose(
        together.obsm["X_lucidvi"][known], alone.obsm["X_lucidvi"], atol=1e-3
    )


def small(adata, setup, **kwargs):
    SCVI.setup_anndata(adata, **setup)
    model = SCVI(adata, n_hidden=16, n_latent=3, **kwargs)
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    return Reference.from_model(model)


def test_a_reference_of_one_batch(simulate):
    """Its decoder has no weights of batches; adding some must not move the known batch."""
    reference = small(simulate(80, n_batches=1), {"batch_key": "batch"})
    mixed = simulate(60, seed=11)
    known = (mixed.obs["batch"] == "lane0").to_numpy()
    together, alone = reference.map(mixed), reference.map(mixed[known])
    np.testing.assert_allclose(
        together.obsm["X_lucidvi"][known], alone.obsm["X_lucidvi"], atol=1e-3
    )


def test_one_cell_where_the_library_is_latent(simulate, stranger):
    reference = small(simulate(80), {"batch_key": "batch"}, use_observed_lib_size=False)
    for cells in (simulate(1, seed=3), stranger[:1]):
        assert np.isfinite(reference.map(cells).obsm["X_lucidvi"]).all()
    model = model_of_query(reference.model, read_query(stranger, reference.model))
    prior, known = model.module.library_log_means, reference.model.module.library_log_means
    assert torch.equal(prior[:, :-1], known)
    library = np.log(stranger.X.sum(axis=1)).mean()
    assert float(prior[0, -1]) == pytest.approx(library, rel=1e-5)


@pytest.mark.parametrize(
    ("setup", "kwargs", "why"),
    [
        ({"categorical_covariate_keys": ["cell_type"]}, {}, "categorical covariates"),
        ({}, {"batch_representation": "embedding"}, "embedding"),
        ({}, {"dispersion": "gene-batch"}, "px_r"),
    ],
)
def test_models_that_cannot_learn_a_batch_say_so(simulate, stranger, setup, kwargs, why):
    reference = small(simulate(80), {"batch_key": "batch", **setup}, **kwargs)
    assert reference.map(simulate(5, seed=3)).n_obs == 5
    with pytest.raises(DataError, match=f"does not know: 'lane3'.*{why}") as raised:
        reference.map(stranger)
    assert "load_query_data" in raised.value.remedy


def test_unknown_categories_of_covariates_are_refused(simulate):
    adata = simulate(80)
    adata.obs["site"] = np.array(["a", "b"])[np.arange(80) % 2]
    reference = small(adata, {"batch_key": "batch", "categorical_covariate_keys": ["site"]})
    cells = simulate(5, seed=3)
    cells.obs["site"] = ["a", "b", "c", "a", "a"]
    with pytest.raises(DataError, match=r'query.obs\["site"\].*\'c\''):
        reference.map(cells)
