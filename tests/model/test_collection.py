"""Cells of several AnnData in scvi-tools' CollectionAdapter: as if they were in one."""

import anndata
import numpy as np
import pytest
import scipy
import scvi
import torch
from anndata.experimental import AnnCollection
from scipy import sparse

from lucidvi.atlas import Reference
from lucidvi.data import check_counts
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.model import SCVI

SETUP = {
    "layer": "counts",
    "batch_key": "donor",
    "labels_key": "label",
    "continuous_covariate_keys": ["age"],
    "categorical_covariate_keys": ["part"],
}
TRAINING = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "logger": False}
CELLS = [100, 3, 3, 119, -1, 40, 39]


def made_of(parts):
    """Return parts as a collection."""
    return scvi.dataloaders.CollectionAdapter(
        AnnCollection(parts, join_vars="inner", join_obs="inner", join_obsm="inner", label="part")
    )


def in_one(parts):
    """Return the same cells in one AnnData."""
    return anndata.concat([p.to_memory() if p.isbacked else p for p in parts], label="part")


@pytest.fixture
def parts(make_adata, tmp_path):
    """Return a function that simulates three AnnData, of whatever format, in memory or not."""

    def make(sparse_format=sparse.csr_matrix, *, backed=False, seed=0):
        made = []
        for k in range(3):
            part = make_adata(40, seed=seed + k)
            part.obs_names = [f"{k}_{name}" for name in part.obs_names]
            part.layers["counts"] = sparse_format(part.X)
            part.X = sparse.csr_matrix(np.log1p(part.X.toarray()))
            part.obsm["X_pca"] = np.ones((40, 2))
            if backed:
                file = tmp_path / f"{seed}_{k}.h5ad"
                part.write_h5ad(file)
                part = anndata.read_h5ad(file, backed="r")
            made.append(part)
        return made

    return make


def trained(adata, **kwargs):
    SCVI.setup_anndata(adata, **SETUP)
    scvi.settings.seed = 0
    model = SCVI(adata, n_latent=2, n_hidden=8, gene_likelihood="nb", **kwargs)
    model.train(**TRAINING)
    return model


QUERIES = {
    "latent": lambda m: m.get_latent_representation(indices=CELLS),
    "latent, mask": lambda m: m.get_latent_representation(indices=np.arange(120) % 2 == 0),
    "latent, reversed": lambda m: m.get_latent_representation(indices=np.arange(120)[::-1].copy()),
    "elbo": lambda m: m.get_elbo(indices=CELLS, return_mean=False),
    "error": lambda m: m.get_reconstruction_error(indices=CELLS)["reconstruction_loss"],
    "marginal": lambda m: m.get_marginal_ll(indices=CELLS, return_mean=False, n_mc_samples=9),
    "expression": lambda m: m.get_normalized_expression(indices=CELLS, library_size="latent"),
    "library": lambda m: m.get_latent_library_size(indices=CELLS, give_mean=False),
    "parameters": lambda m: m.get_likelihood_parameters(indices=CELLS)["mean"],
    "predicted": lambda m: m.posterior_predictive_sample(indices=CELLS).todense(),
    "refined": lambda m: m.refine_posterior(indices=CELLS).loc,
    "fold changes": lambda m: m.differential_expression(
        groupby="label", group1="T", group2="B", mode="change", silent=True
    ).sort_index()[["lfc_mean", "raw_mean1", "raw_normalized_mean2"]],
    "abundance": lambda m: (m.differential_abundance(sample_key="part"), m.adata)[1].obsm[
        "da_log_probs"
    ],
}


@pytest.mark.parametrize(
    ("sparse_format", "backed"),
    [
        (sparse.csc_matrix, False),
        (sparse.csr_matrix, True),
    ],
)
def test_results_are_those_of_the_same_cells_in_one(parts, sparse_format, backed):
    cells = parts(sparse_format, backed=backed)
    collected, together = trained(made_of(cells)), trained(in_one(cells))
    for name, weight in collected.module.state_dict().items():
        np.testing.assert_allclose(
            weight, together.module.state_dict()[name], rtol=1e-3, atol=1e-4, err_msg=name
        )
    together.module.load_state_dict(collected.module.state_dict())
    for name, query in QUERIES.items():
        results = []
        for model in (collected, together):
            np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
            torch.manual_seed(0)
            results.append(np.asarray(query(model)))
        np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5, err_msg=name)


def test_another_collection(parts):
    cells, query = parts(), parts(seed=7)
    model, first, second = trained(made_of(cells)), made_of(cells), made_of(query)
    expected = trained(in_one(cells))
    expected.module.load_state_dict(model.module.state_dict())
    for adata, same in ((second, in_one(query)), (first, in_one(cells))):
        np.testing.assert_allclose(
            model.get_latent_representation(adata),
            expected.get_latent_representation(same),
            atol=1e-5,
        )
    reordered = made_of([part[:, ::-1].copy() for part in query])
    np.testing.assert_allclose(
        model.get_latent_representation(reordered),
        expected.get_latent_representation(in_one(query)),
        atol=1e-5,
    )
    # scvi-tools keeps the setup of all collections in one dictionary.
    assert first.uns["_scvi_uuid"] != second.uns["_scvi_uuid"]
    np.testing.assert_allclose(
        model.get_latent_representation(),
        expected.get_latent_representation(),
        atol=1e-5,
    )


def test_a_collection_stays_set_up_when_another_is(parts):
    first, second = made_of(parts()), made_of(parts(seed=7))
    SCVI.setup_anndata(first, **SETUP)
    SCVI.setup_anndata(second, **SETUP)
    model = SCVI(first, n_latent=2)
    assert model.adata_manager.adata is first
    np.testing.assert_array_equal(
        model.adata_manager.get_from_registry("X")[:5].toarray(),
        parts()[0].layers["counts"][:5].toarray(),
    )


def test_saved_converted_and_mapped(parts, tmp_path):
    cells, query = made_of(parts()), made_of(parts(seed=7))
    model = trained(cells)
    latent = model.get_latent_representation()
    with pytest.raises(DataError, match="collection of several AnnData") as error:
        model.save(str(tmp_path / "model"), save_anndata=True)
    assert "leave out `save_anndata`" in error.value.remedy
    model.save(str(tmp_path / "model"))
    for same in (
        SCVI.load(str(tmp_path / "model"), adata=cells),
        model.to_scvi_model(),
        SCVI.from_scvi_model(model.to_scvi_model()),
    ):
        np.testing.assert_allclose(same.get_latent_representation(), latent, atol=1e-5)
    surgery = SCVI.load_query_data(query, str(tmp_path / "model"), unfrozen=True)
    surgery.train(**TRAINING)
    assert surgery.get_latent_representation().shape == (120, 2)
    classifier = scvi.model.SCANVI.from_scvi_model(model, "unknown")
    classifier.train(**TRAINING)
    assert set(classifier.predict()) <= {"T", "B"}
    mapped = Reference.from_model(model, labels_key="label").map(query)
    assert mapped.n_obs == 120
    with pytest.raises(DataError, match="cannot be minified"):
        model.minify_adata()


def test_what_is_wrong_is_named_and_nothing_is_left_behind(parts):
    cells = parts()
    cells[1].layers["counts"][3, 4] = 2.5
    collected = made_of(cells)
    before = collected.obs.copy()
    with pytest.raises(DataError, match=r"1 of .* first is 2.5 in cell '1_cell3' \(row 43\)"):
        SCVI.setup_anndata(collected, **SETUP)
    assert collected.obs.equals(before)
    assert collected.uns == {}
    with pytest.raises(MissingKeyError, match="layer='count'") as error:
        SCVI.setup_anndata(collected, layer="count")
    assert 'layer="counts"' in error.value.remedy
    with pytest.raises(DataError, match="no X of its own") as error:
        SCVI.setup_anndata(collected)
    assert 'part.layers["counts"] = part.X' in error.value.remedy
    without_obsm = AnnCollection(cells, join_vars="inner", label="part")
    with pytest.raises(DataError, match="without an obsm") as error:
        SCVI.setup_anndata(scvi.dataloaders.CollectionAdapter(without_obsm), **SETUP)
    assert 'join_obsm="inner"' in error.value.remedy


def test_remedy_for_dense_layers_works_when_pasted(parts):
    adata = made_of(parts(lambda matrix: matrix.toarray()))
    with pytest.raises(DataError, match="is dense") as error:
        check_counts(adata, "counts")
    exec(error.value.remedy, {"adata": adata, "scipy": scipy})
    check_counts(adata, "counts")


def test_refined_cells_of_a_collection_keep_their_counts(parts):
    collection, adata = made_of(made := parts()), in_one(made)
    model = trained(collection)
    refined = model.refine_posterior(indices=[adata.n_obs - 1, 2])

    stored = refined.to_adata(collection)

    assert list(stored.obs_names) == list(adata.obs_names[[-1, 2]])
    latent = model.get_latent_representation(stored)
    np.testing.assert_allclose(latent, refined.loc, atol=1e-5)
    counts = [
        sparse.csr_matrix(data.layers["counts"]).toarray() for data in (stored, adata[[-1, 2]])
    ]
    np.testing.assert_array_equal(*counts)
