"""Minibatches hold the cells asked for: against the AnnData, and against scvi's own loader."""

import numpy as np
import pytest
import torch
from anndata import AnnData, read_h5ad
from scipy import sparse
from scvi.dataloaders import AnnDataLoader

from lucidvi.data._cells import Cells, DeviceCells, as_csr, gather
from lucidvi.kernels import csr
from lucidvi.model import SCVI

FORMATS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "dense": np.ascontiguousarray,
    "dense by columns": np.asfortranarray,
}
DTYPES = ("float32", "float64", "int32", "int64", "uint16")
ROWS = {
    "as they are": np.arange(30),
    "reversed": np.arange(30)[::-1].copy(),
    "some": np.array([17, 3, 21]),
    "repeated": np.array([5, 5, 2, 28, 2, 5]),
    "one": np.array([9]),
    "none": np.array([], dtype=np.int64),
    "a list": [9, 1, 4],
    "int32": np.array([4, 29, 0], dtype=np.int32),
    "empty cells": np.array([0, 12, 12, 29]),
}
REGISTERED = {
    "batch_key": "batch",
    "labels_key": "label",
    "size_factor_key": "size_factor",
    "categorical_covariate_keys": ["donor", "site"],
    "continuous_covariate_keys": ["age", "percent_mito"],
}


def draw_counts():
    return np.random.default_rng(0).poisson(0.7, (30, 7)) + np.eye(30, 7, dtype=int)


def registered(adata, **kwargs):
    SCVI.setup_anndata(adata, **kwargs)
    return SCVI(adata).adata_manager


def with_empty_cells(x):
    """Cells without counts: first, in between, last. Those cannot be registered."""
    x = x.copy()
    x[[0, 12, 29]] = 0
    return x


def check(minibatch, x, rows):
    got = minibatch["X"]
    assert got.layout == torch.sparse_csr
    assert got.shape == (len(rows), x.shape[1])
    assert got.crow_indices().dtype == got.col_indices().dtype == torch.int32
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.to_dense(), x[rows])
    torch.sparse_csr_tensor(
        got.crow_indices(),
        got.col_indices(),
        got.values(),
        size=got.shape,
        check_invariants=True,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMATS)
def test_counts_in_memory(name, dtype):
    """Those in CSR are taken as they lie there, not copied."""
    x = draw_counts()
    adata = AnnData(FORMATS[name](x.astype(dtype)))
    manager = registered(adata)
    x = with_empty_cells(x)
    adata.X = FORMATS[name](x.astype(dtype))
    cells = Cells(manager)
    for place in (cells, DeviceCells(cells, torch.device("cpu"))):
        for rows in ROWS.values():
            check(place.take(rows), x, rows)
    if name.startswith("csr"):
        assert np.shares_memory(cells.counts.data, adata.X.data)
    np.testing.assert_array_equal(adata.X if "dense" in name else adata.X.toarray(), x)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # scvi-tools' tensors
@pytest.mark.parametrize("name", ["csr", "csc", "dense"])
def test_counts_in_a_file(name, tmp_path):
    x = draw_counts()
    AnnData(FORMATS[name](x.astype(np.float32))).write_h5ad(tmp_path / "cells.h5ad")
    manager = registered(read_h5ad(tmp_path / "cells.h5ad", backed="r"))
    cells = Cells(manager)
    assert cells.counts is None
    assert DeviceCells.size(cells) == 0
    for key, rows in ROWS.items():
        if key != "none":
            check(cells.take(rows), x, rows)
    with pytest.raises(ValueError, match="in memory"):
        DeviceCells(cells, torch.device("cpu"))


def test_counts_of_a_layer():
    x = draw_counts()
    adata = AnnData(np.zeros((30, 7), np.float32), layers={"counts": sparse.csr_matrix(x)})
    cells = Cells(registered(adata, layer="counts"))
    check(cells.take([3, 1]), x, [3, 1])


def test_counts_in_any_order_within_a_cell():
    x = draw_counts().astype(np.float32)
    rng = np.random.default_rng(0)
    matrix = sparse.csr_matrix(x)
    for start, stop in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        order = rng.permutation(np.arange(start, stop))
        matrix.indices[start:stop] = matrix.indices[order]
        matrix.data[start:stop] = matrix.data[order]
    matrix.has_sorted_indices = False
    cells = Cells(registered(AnnData(matrix)))
    for place in (cells, DeviceCells(cells, torch.device("cpu"))):
        got = place.take(ROWS["repeated"])["X"].to_dense()
        np.testing.assert_array_equal(got, x[ROWS["repeated"]])


def test_counts_stored_twice_are_one_count():
    """As scipy and scvi-tools read them; the likelihood takes each stored value for a count."""
    starts, genes = np.arange(0, 91, 3), np.tile([2, 0, 2], 30)
    adata = AnnData(sparse.csr_matrix((np.ones(90, np.float32), genes, starts), (30, 4)))
    cells = Cells(registered(adata))
    for place in (cells, DeviceCells(cells, torch.device("cpu"))):
        check(place.take([3, 1]), np.tile([1, 0, 2, 0], (30, 1)), [3, 1])
    assert adata.X.nnz == 90  # what the user holds stays as it is


@pytest.mark.parametrize("backed", [False, True])
def test_every_registered_column_as_scvi_gives_it(adata, backed, tmp_path):
    if backed:
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    manager = registered(adata, **REGISTERED)
    rows = np.array([17, 3, 21, 3, 59])
    want = next(iter(AnnDataLoader(manager, indices=rows, batch_size=5)))
    cells = Cells(manager)
    places = [cells] if backed else [cells, DeviceCells(cells, torch.device("cpu"))]
    for place in places:
        got = place.take(rows)
        assert set(got) == set(want)
        assert len(want) == 6
        for key, values in want.items():
            assert got[key].dtype == values.dtype, key
            torch.testing.assert_close(got[key].to_dense(), values, rtol=0, atol=0, msg=key)


def test_minibatches_are_copies(adata):
    cells = Cells(registered(adata))
    before = cells.take([1, 2])["X"].to_dense()
    cells.take([1, 2])["X"].values().mul_(0)
    cells.take([1, 2])["batch"].fill_(9)
    assert torch.equal(cells.take([1, 2])["X"].to_dense(), before)
    assert (cells.take([1, 2])["batch"] == 0).all()


@pytest.mark.parametrize("row", [30, -31])
def test_cells_that_are_not_there(row):
    cells = Cells(registered(AnnData(sparse.csr_matrix(draw_counts()))))
    for place in (cells, DeviceCells(cells, torch.device("cpu"))):
        with pytest.raises(IndexError):
            place.take([0, row])


def test_cells_counted_from_the_end():
    """As numpy, and so scvi's loader, takes them."""
    x = draw_counts()
    cells = Cells(registered(AnnData(sparse.csr_matrix(x))))
    for place in (cells, DeviceCells(cells, torch.device("cpu"))):
        check(place.take([-1, 3, -30]), x, [-1, 3, -30])


def test_rows_as_a_view():
    x = draw_counts()
    cells = Cells(registered(AnnData(sparse.csr_matrix(x))))
    for place in (cells, DeviceCells(cells, torch.device("cpu"))):
        for rows in (np.arange(30)[::-1], np.arange(30)[::2]):
            check(place.take(rows), x, rows)


def test_size_on_a_device():
    x = sparse.csr_matrix(draw_counts())
    cells = Cells(registered(AnnData(x)))
    on_device = DeviceCells(cells, torch.device("cpu"))
    tensors = (on_device.genes, on_device.counts, on_device.starts)
    assert DeviceCells.size(cells) == sum(t.nbytes for t in tensors) == 8 * x.nnz + 8 * 30


@pytest.mark.parametrize("integer", [np.int32, np.int64])
def test_gather_is_scipys_indexing(integer):
    x = sparse.csr_matrix(with_empty_cells(draw_counts()))
    for rows in (np.asarray(r, dtype=np.int64) for r in ROWS.values()):
        got = gather(x.indptr.astype(integer), x.indices.astype(integer), x.data, rows)
        want = x[rows]
        for array, other in zip(got, (want.indptr, want.indices, want.data), strict=True):
            np.testing.assert_array_equal(array, other)


def test_as_csr():
    x = with_empty_cells(draw_counts()).astype(np.float64)
    dense = torch.from_numpy(x)
    for given in (x, dense, dense.to_sparse_csr(), dense.to_sparse_csc(), dense.to_sparse_coo()):
        check({"X": as_csr(given)}, x, np.arange(30))


def test_csr_holds_the_arrays_it_is_given():
    starts, genes, counts = torch.tensor([0, 1, 1]), torch.tensor([2]), torch.tensor([5.0])
    x = csr(starts, genes, counts, 3)
    assert x.to_dense().tolist() == [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]
    assert x.values().data_ptr() == counts.data_ptr()
