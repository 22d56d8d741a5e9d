"""A model of cells in files, dask arrays and unusual types does all that one in memory does."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from lucidvi.atlas import Reference
from lucidvi.errors import DataError
from lucidvi.model import SCVI

da = pytest.importorskip("dask.array")
pytest.importorskip("xarray")

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
LATENT = ("latent_posterior_parameters", "qz_m", "qz_v")


@pytest.fixture(scope="module")
def cells(make_adata):
    return make_adata(80, 15, 2)


@pytest.fixture(scope="module")
def folder(cells, tmp_path_factory):
    """A trained model, saved."""
    adata = cells.copy()
    SCVI.setup_anndata(adata, batch_key="batch")
    torch.manual_seed(0)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=5, **QUIET)
    folder = str(tmp_path_factory.mktemp("models") / "model")
    model.save(folder)
    return folder


def half(x):
    x = sparse.csr_matrix(x)
    x.data = x.data.astype(np.float16)
    return x


def with_counts(cells, x):
    adata = cells.copy()
    adata.X = x
    return adata


def in_file(cells, x, folder):
    with_counts(cells, x).write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


FORMS = {
    "half precision": lambda cells, x, _: with_counts(cells, x.astype(np.float16)),
    "CSR, half precision": lambda cells, x, _: with_counts(cells, half(x)),
    "dask of CSR": lambda cells, x, _: with_counts(
        cells, da.from_array(x, chunks=(30, 4)).map_blocks(sparse.csr_matrix)
    ),
    "file": lambda cells, x, folder: anndata.read_h5ad(in_file(cells, x, folder), backed="r"),
    "file of CSC": lambda cells, x, folder: anndata.read_h5ad(
        in_file(cells, sparse.csc_matrix(x), folder), backed="r"
    ),
    "lazy": lambda cells, x, folder: anndata.experimental.read_lazy(
        in_file(cells, sparse.csr_matrix(x), folder)
    ),
}


@pytest.fixture(params=list(FORMS))
def form(request, cells, tmp_path):
    return FORMS[request.param](cells, cells.X.toarray(), tmp_path)


def expression(model, adata):
    """Compare groups, by the counts themselves and by the model."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    table = model.differential_expression(adata, groupby="label", silent=True)
    return table.sort_index().select_dtypes("number").to_numpy()


def refined(model, adata):
    posterior = model.refine_posterior(adata, indices=[5, 1, 7])
    model.adata = posterior.to_adata(model.adata if adata is None else adata)
    return model.get_latent_representation()


def minified(model, adata):
    qz_m, qz_v = model.get_latent_representation(return_dist=True)
    model.adata.obsm["qz_m"], model.adata.obsm["qz_v"] = qz_m, qz_v
    model.minify_adata(*LATENT)
    return latent_and_expression(model)


def latent_and_expression(model):
    latent = model.get_latent_representation()
    torch.manual_seed(0)
    return np.hstack([latent, model.get_normalized_expression()])


USES = {
    "differential expression": expression,
    "refined posteriors": refined,
    "minified": minified,
    "scvi-tools": lambda model, _: model.to_scvi_model().get_latent_representation(),
    "reference": lambda model, _: (
        lambda reference: np.append(reference.data.posteriors.loc.ravel(), reference.data.depth)
    )(Reference.from_model(model, "label")),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.filterwarnings("ignore:.*cells that its confidences:UserWarning")
def test_uses_of_a_model(form, cells, folder, use):
    got = USES[use](SCVI.load(folder, adata=form, accelerator="cpu"), None)
    want = USES[use](SCVI.load(folder, adata=cells.copy(), accelerator="cpu"), None)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_mapping(form, cells, folder):
    reference = Reference.from_model(SCVI.load(folder, adata=cells.copy()), "label")
    got = reference.map(form).obsm["X_lucidvi"]
    np.testing.assert_allclose(got, reference.map(cells).obsm["X_lucidvi"], rtol=1e-4, atol=1e-5)


def test_stored_posteriors_without_counts(cells, folder):
    """Without X the answers are those with an empty one; a reference has its cells' depth."""
    model = SCVI.load(folder, adata=cells.copy())
    depth = Reference.from_model(model, "label").data.depth
    want = minified(model, None)
    without = model.adata.copy()
    without.X = None
    other = SCVI.load(folder, adata=cells.copy())
    other.adata = without
    np.testing.assert_allclose(latent_and_expression(other), want, rtol=1e-6)
    assert Reference.from_model(other, "label").data.depth == depth


def test_what_anndata_cannot_read_again_is_not_saved(cells, folder, tmp_path):
    model = SCVI.load(folder, adata=with_counts(cells, half(cells.X)))
    with pytest.raises(DataError, match="cannot read again") as error:
        model.save(str(tmp_path / "model"), save_anndata=True)
    adata = model.adata
    exec(error.value.remedy, {"adata": adata, "np": np})
    model.save(str(tmp_path / "model"), save_anndata=True)
    SCVI.load(str(tmp_path / "model"))


def test_names_and_batches_as_pandas_strings(cells, folder, tmp_path):
    """What pandas makes of text from 3 on, with every way in and out."""
    text = pd.StringDtype("python", na_value=np.nan)
    adata = AnnData(cells.X, cells.obs[["batch"]].copy(), cells.var.copy())
    adata.obs.index, adata.var.index = (x.astype(text) for x in (adata.obs.index, adata.var.index))
    adata.obs["batch"] = adata.obs["batch"].astype(text)
    want = SCVI.load(folder, adata=cells.copy()).get_latent_representation()
    model = SCVI.load(folder, adata=adata[:, ::-1].copy())
    np.testing.assert_allclose(model.get_latent_representation(), want, rtol=1e-5, atol=1e-6)
    SCVI.setup_anndata(adata, batch_key="batch")
    own = SCVI(adata, n_hidden=8, n_latent=2)
    own.train(max_epochs=1, **QUIET)
    own.save(str(tmp_path / "model"), save_anndata=True)
    again = SCVI.load(str(tmp_path / "model"))
    np.testing.assert_allclose(
        again.get_latent_representation(), own.get_latent_representation(), rtol=1e-6
    )
    np.testing.assert_allclose(
        own.get_latent_representation(cells.copy()), own.get_latent_representation(), rtol=1e-6
    )
