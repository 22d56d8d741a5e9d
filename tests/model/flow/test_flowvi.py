"""A model of spliced and unspliced molecules, as a user meets it."""

import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData, read_h5ad
from scipy import sparse
from tests.splicing import spliced_anndata

from lucidvi import simulate
from lucidvi.atlas import Reference
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError
from lucidvi.model import FLOWVI


def trained(adata, **kwargs):
    scvi.settings.seed = 0
    FLOWVI.setup_anndata(adata, **kwargs)
    model = FLOWVI(adata, n_latent=3)
    model.train(5, n_kinetic_steps=20, enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def adata():
    return spliced_anndata(120, 25, n_batches=2)


@pytest.fixture(scope="module")
def model(adata):
    return trained(adata, batch_key="batch")


def test_shapes_and_names(model, adata):
    velocity, error = model.get_velocity(return_uncertainty=True)
    assert velocity.shape == error.shape == (120, 3)
    assert (error >= 0).all()
    of_genes = model.get_gene_velocity(only_fitting=False)
    assert of_genes.index.equals(adata.obs_names)
    assert of_genes.columns.equals(adata.var_names)
    assert np.isfinite(of_genes.to_numpy()).all()
    rates = model.get_rates()
    assert rates.index.equals(adata.var_names.rename("gene"))
    dropped = model.get_gene_velocity().isna().all()
    assert (dropped.to_numpy() == ~rates["fits"].to_numpy()).all()


def test_expression_of_a_cell_sums_to_its_library(model):
    total = model.get_spliced_expression(library_size=50).sum(axis=1)
    np.testing.assert_allclose(total, 50, rtol=1e-4)


def test_velocities_of_genes_sum_to_none(model):
    """Shares that sum to one change by nothing in all."""
    velocity = model.get_gene_velocity(only_fitting=False)
    np.testing.assert_allclose(velocity.sum(axis=1), 0, atol=1e-2)


def test_cells_and_genes_are_chosen(model, adata):
    every = model.get_gene_velocity(only_fitting=False)
    genes = ["gene_7", "gene_2"]
    chosen = model.get_gene_velocity(indices=["cell_5", "cell_3"], gene_list=genes)
    assert chosen.columns.tolist() == genes
    some = model.get_gene_velocity(
        indices=["cell_5", "cell_3"], gene_list=genes, only_fitting=False
    )
    pd.testing.assert_frame_equal(some, every.loc[["cell_5", "cell_3"], genes], rtol=1e-4)
    np.testing.assert_allclose(
        model.get_velocity(indices=[5, 3]), model.get_velocity()[[5, 3]], rtol=1e-4, atol=1e-6
    )


def test_other_cells_in_another_order_of_genes(model, adata):
    other = adata[40:60, ::-1].copy()
    del other.layers["spliced_and_unspliced"]
    expected = model.get_gene_velocity(indices=range(40, 60), only_fitting=False)
    found = model.get_gene_velocity(other, only_fitting=False)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-3)
    direction = model.get_direction(other)
    assert direction.cells.index.equals(other.obs_names)


def test_it_is_saved_and_loaded(model, adata, tmp_path):
    model.save(tmp_path / "model", save_anndata=True)
    fresh = adata.copy()
    del fresh.layers["spliced_and_unspliced"]
    for again in (FLOWVI.load(tmp_path / "model"), FLOWVI.load(tmp_path / "model", fresh)):
        np.testing.assert_allclose(again.get_velocity(), model.get_velocity(), atol=1e-6)
        pd.testing.assert_frame_equal(again.get_rates(), model.get_rates())


def test_what_scvi_does_it_does_of_all_molecules(model, adata):
    assert model.get_latent_representation().shape == (120, 3)
    assert model.get_normalized_expression().shape == (120, 25)
    assert model.refine_posterior(indices=range(5)).loc.shape == (5, 3)
    assert np.isfinite(model.get_marginal_ll(n_mc_samples=10))
    total = adata.layers["spliced"] + adata.layers["unspliced"]
    assert (adata.layers["spliced_and_unspliced"] != total).nnz == 0


def test_a_query_of_another_batch(model, adata):
    query = adata[:30].copy()
    query.obs["batch"] = "new"
    del query.layers["spliced_and_unspliced"]
    mapped = FLOWVI.load_query_data(query, model, unfrozen=True)
    mapped.train(2, n_kinetic_steps=5, enable_progress_bar=False)
    assert mapped.get_velocity().shape == (30, 3)


@pytest.mark.parametrize("form", ["dense", "csc", "float", "backed"])
def test_forms_in_which_counts_come(form, tmp_path):
    adata = spliced_anndata(60, 15)
    expected = trained(adata.copy()).get_velocity()
    if form == "backed":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    else:
        change = {
            "dense": lambda x: x.toarray(),
            "csc": sparse.csc_matrix,
            "float": lambda x: x.astype(np.float64),
        }[form]
        for name in ("spliced", "unspliced"):
            adata.layers[name] = change(adata.layers[name])
    np.testing.assert_allclose(trained(adata).get_velocity(), expected, atol=1e-4)


def test_no_kinetics_no_velocity(adata):
    cells = adata.copy()
    FLOWVI.setup_anndata(cells)
    model = FLOWVI(cells)
    with pytest.raises(DataError, match=r"(?s)have not been fitted.*model\.train\(\)"):
        model.get_velocity()


def changed(what):
    adata = spliced_anndata(30, 10)
    spliced, unspliced = adata.layers["spliced"], adata.layers["unspliced"]
    if what == "missing":
        del adata.layers["unspliced"]
    elif what == "logged":
        adata.layers["unspliced"] = unspliced.log1p()
    elif what == "negative":
        adata.layers["spliced"] = -spliced
    elif what == "none":
        adata.layers["unspliced"] = unspliced * 0
    elif what == "no counts":
        for layer in (spliced, unspliced):
            layer[3] = 0
            layer.eliminate_zeros()
    return adata


@pytest.mark.filterwarnings("ignore:Changing the sparsity structure")
@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("missing", MissingKeyError, r"`unspliced_layer` is 'unspliced', and adata\.layers has"),
        ("logged", DataError, r"adata\.layers\['unspliced'\]"),
        ("negative", DataError, r"adata\.layers\['spliced'\]"),
        ("none", DataError, r"adata\.layers\['unspliced'\] has no count at all"),
        ("no counts", DataError, "cell_3"),
    ],
)
def test_bad_layers(what, error, said):
    adata = changed(what)
    layers = set(adata.layers)
    with pytest.raises(error, match=said):
        FLOWVI.setup_anndata(adata)
    assert set(adata.layers) == layers


def test_a_view():
    adata = spliced_anndata(30, 10)
    view = adata[:20]
    with pytest.raises(DataError, match=r"adata = adata\.copy\(\)"):
        FLOWVI.setup_anndata(view)
    assert view.is_view


def test_one_layer_twice():
    with pytest.raises(DataError, match="three layers"):
        FLOWVI.setup_anndata(spliced_anndata(30, 10), "spliced", "spliced")


def test_it_is_no_model_of_scvi_tools(model):
    with pytest.raises(ModelTypeError, match="kinetics"):
        model.to_scvi_model()
    with pytest.raises(ModelTypeError, match="kinetics"):
        FLOWVI.from_scvi_model(scvi.model.SCVI)


def test_a_reference_and_simulated_cells():
    adata = spliced_anndata(150, 20)
    adata.obs["half"] = np.where(adata.obs["time"] < 5, "early", "late")
    model = trained(adata, batch_key="batch", labels_key="half")
    assert simulate.sample_cells(model, n_cells=7).n_obs == 7
    reference = Reference.from_model(model, labels_key="half")
    query = spliced_anndata(20, 20, seed=1)
    out = reference.map(query)
    assert len(out.obs) == 20
    assert isinstance(reference, Reference)


def test_names_of_the_layers_are_the_user_s():
    adata = spliced_anndata(60, 15)
    cells = AnnData(adata.X, adata.obs, adata.var)
    cells.layers["mature"], cells.layers["nascent"] = (
        adata.layers[name] for name in ("spliced", "unspliced")
    )
    FLOWVI.setup_anndata(cells, "mature", "nascent", layer="both")
    model = FLOWVI(cells)
    model.train(2, n_kinetic_steps=5, enable_progress_bar=False)
    assert "both" in cells.layers
