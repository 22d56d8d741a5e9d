"""Rows of counts in files, dask arrays and of unusual types are those of NumPy."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from lucidvi.data import (
    CellSource,
    StoredCounts,
    align_genes,
    copy_in_memory,
    store_of,
    with_tables_in_memory,
)
from lucidvi.data.matrices import _stored as stored
from lucidvi.errors import DataError
from lucidvi.model import SCVI

pytest.importorskip("dask.array")
pytest.importorskip("zarr")

from tests.data.matrices.forms import FORMS, N_CELLS, N_GENES, draw_counts, typed

# anndata's, of the versions of zarr that it will write
pytestmark = pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")

ROWS = {
    "mixed": np.array([17, 3, 21]),
    "repeated": np.array([5, 5, 2, 28, 2, 5]),
    "negative": [-1, 3, -30],
    "mask": np.arange(N_CELLS) % 3 == 1,
    "slice": slice(3, 25, 4),
    "backwards": slice(None, None, -1),
    "together": np.arange(4, 19),
    "none": np.zeros(0, dtype=int),
}


@pytest.fixture(params=list(FORMS))
def matrix(request, tmp_path):
    return FORMS[request.param](draw_counts(), tmp_path)


def dense(rows):
    assert sparse.issparse(rows) or type(rows) is np.ndarray
    assert rows.dtype.isnative
    assert rows.dtype != np.float16
    return rows.toarray() if sparse.issparse(rows) else rows


@pytest.mark.parametrize("few", [False, True])
def test_rows_sums_and_genes(matrix, few, monkeypatch):
    if few:
        monkeypatch.setattr(stored, "CHUNK", 4 * N_GENES)
    x, counts = draw_counts(), StoredCounts(matrix)
    assert counts.shape == x.shape
    for name, rows in ROWS.items():
        np.testing.assert_array_equal(dense(counts[rows]), x[rows], err_msg=name)
    np.testing.assert_array_equal(counts.sum(axis=1), x.sum(axis=1))
    np.testing.assert_array_equal(counts.sum(axis=0), x.sum(axis=0))
    cells, genes = np.array([4, 29, 4]), np.array([6, 0, 3])
    np.testing.assert_array_equal(dense(counts.take(cells, genes)), x[cells][:, genes])


def test_minibatches_and_a_model(matrix):
    """What training reads, and library sizes of a latent library."""
    x = draw_counts()
    adata, plain = AnnData(matrix), AnnData(sparse.csr_matrix(x.astype(np.float32)))
    means = []
    for data in (adata, plain):
        SCVI.setup_anndata(data)
        model = SCVI(data, n_latent=2, n_hidden=4, use_observed_lib_size=False)
        means.append(model.module.library_log_means)
        minibatch = store_of(CellSource(model.adata_manager)).take([17, -1, 3, 17])["X"]
        assert minibatch.layout == torch.sparse_csr
        np.testing.assert_array_equal(minibatch.to_dense(), x[[17, -1, 3, 17]])
    torch.testing.assert_close(*means)


def test_genes_in_another_order(matrix):
    x, adata = draw_counts(), AnnData(matrix)
    adata.var_names = [f"g{i}" for i in range(N_GENES)]
    aligned = align_genes(adata, ["g4", "g1", "g5"])
    got = aligned.X.compute() if hasattr(aligned.X, "compute") else aligned.X
    np.testing.assert_array_equal(dense(StoredCounts(got)[:]), x[:, [4, 1, 5]])
    assert list(aligned.var_names) == ["g4", "g1", "g5"]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize(
    "cells", [np.array([4, 9, 2]), slice(None, None, -1), np.arange(N_CELLS) % 2 == 0]
)
def test_views_of_files(kind, cells, tmp_path):
    """Of the backward slice of a sparse matrix anndata reads a row less."""
    x = draw_counts()
    adata = AnnData(kind(x))
    adata.obsm["row"] = np.arange(N_CELLS)[:, None]
    adata.var_names = [f"g{i}" for i in range(N_GENES)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    view = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")[cells]
    for aligned, genes in (
        (copy_in_memory(view), np.arange(N_GENES)),
        (align_genes(view, view.var_names), np.arange(N_GENES)),
        (align_genes(view, ["g3", "g0"]), np.array([3, 0])),
    ):
        assert not aligned.isbacked
        assert not aligned.is_view
        np.testing.assert_array_equal(dense(aligned.X), x[cells][:, genes])
        np.testing.assert_array_equal(aligned.obsm["row"].ravel(), np.arange(N_CELLS)[cells])


def test_remedy_for_a_view_of_a_file(tmp_path):
    AnnData(draw_counts()).write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")[[3, 1, 7, 8]]
    with pytest.raises(DataError, match="view of another") as error:
        SCVI.setup_anndata(adata)
    names = {"adata": adata}
    exec(error.value.remedy, names)
    SCVI.setup_anndata(names["adata"])


def test_masked_counts_are_refused():
    adata = AnnData(np.ma.masked_array(draw_counts(), draw_counts() > 2))
    with pytest.raises(DataError, match=r"adata\.X is a masked array"):
        SCVI.setup_anndata(adata)
    adata.X = adata.X.filled(1)
    SCVI.setup_anndata(adata)


def test_genes_of_objects_cannot_be_taken():
    matrix = sparse.csr_matrix(draw_counts())
    matrix.data = matrix.data.astype(object)
    with pytest.raises(DataError, match="sparse matrix of dtype object"):
        align_genes(AnnData(matrix), ["1", "0"])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_lazily_read_cells(kind, tmp_path):
    pytest.importorskip("xarray")
    x = draw_counts()
    adata = AnnData(kind(x))
    adata.obs["batch"] = ["a", "b"] * (N_CELLS // 2)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    lazy = anndata.experimental.read_lazy(tmp_path / "cells.h5ad")
    SCVI.setup_anndata(lazy, batch_key="batch")
    assert isinstance(lazy.obs, pd.DataFrame)
    assert hasattr(lazy.X, "dask")
    minibatch = store_of(CellSource(SCVI(lazy, n_hidden=4).adata_manager)).take([4, 1])
    np.testing.assert_array_equal(minibatch["X"].to_dense(), x[[4, 1]])
    assert minibatch["batch"].ravel().tolist() == [0, 1]
    view = anndata.experimental.read_lazy(tmp_path / "cells.h5ad")[[4, 1]]
    aligned = align_genes(view, view.var_names[::-1])
    np.testing.assert_array_equal(dense(StoredCounts(aligned.X)[:]), x[[4, 1]][:, ::-1])


def test_big_endian_counts_stored_twice():
    """scipy can neither copy nor add up such a matrix."""
    starts, genes = np.arange(0, 91, 3), np.tile([2, 0, 2], N_CELLS)
    matrix = sparse.csr_matrix((np.ones(90, np.float32), genes, starts), (N_CELLS, 4))
    adata = AnnData(typed(matrix, ">f4"))
    SCVI.setup_anndata(adata)
    minibatch = store_of(CellSource(SCVI(adata, n_hidden=4).adata_manager)).take([3, 1])
    np.testing.assert_array_equal(minibatch["X"].to_dense(), np.tile([1, 0, 2, 0], (2, 1)))


@pytest.mark.parametrize("ordered", [False, True])
def test_lazy_cells_keep_categories_that_no_cell_has(tmp_path, ordered):
    """Anndata leaves them out of the table that it reads, and a model has one batch less."""
    pytest.importorskip("xarray")
    obs = pd.DataFrame(
        {"batch": pd.Categorical(["b", "a"] * 10, categories=["z", "b", "a"], ordered=ordered)},
        index=[f"c{i}" for i in range(20)],
    )
    adata = AnnData(np.ones((20, 3), dtype=np.float32), obs=obs)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    lazy = anndata.experimental.read_lazy(tmp_path / "cells.h5ad")
    assert with_tables_in_memory(lazy).obs["batch"].dtype == obs["batch"].dtype
    SCVI.setup_anndata(lazy, batch_key="batch")
    SCVI.setup_anndata(adata, batch_key="batch")
    models = [SCVI(cells, n_hidden=4) for cells in (lazy, adata)]
    states = [model.adata_manager.get_state_registry("batch") for model in models]
    assert [list(state.categorical_mapping) for state in states] == [["z", "b", "a"]] * 2
