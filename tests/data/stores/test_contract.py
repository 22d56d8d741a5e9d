"""What every store has to do: for every form of counts, the minibatches of the plain cells."""

import numpy as np
import pytest
import torch
from anndata import AnnData, read_h5ad
from anndata.experimental import read_lazy
from scipy import sparse
from scvi.dataloaders import AnnDataLoader

from lucidvi.data import STORES, CellSource, DeviceStore, MemoryStore, store_of
from lucidvi.model import SCVI

pytest.importorskip("dask.array")
pytest.importorskip("zarr")
pytest.importorskip("xarray")

from tests.data.matrices.forms import FORMS as STORED
from tests.data.matrices.forms import N_CELLS, N_GENES, draw_counts, typed

# anndata's, of the versions of zarr that it will write
pytestmark = pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")

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
    "reversed": np.arange(30)[::-1],
    "every other": np.arange(30)[::2],
    "some": np.array([17, 3, 21]),
    "repeated": np.array([5, 5, 2, 28, 2, 5]),
    "one": np.array([9]),
    "none": np.array([], dtype=np.int64),
    "a list": [9, 1, 4],
    "int32": np.array([4, 29, 0], dtype=np.int32),
    "empty cells": np.array([0, 12, 12, 29]),
    "from the end": [-1, 3, -30],
}
REGISTERED = {
    "batch_key": "batch",
    "labels_key": "label",
    "size_factor_key": "size_factor",
    "categorical_covariate_keys": ["donor", "site"],
    "continuous_covariate_keys": ["age", "percent_mito"],
}


def read_only(x):
    x.flags.writeable = False
    return x


def in_any_order(x):
    rng = np.random.default_rng(0)
    matrix = sparse.csr_matrix(x)
    for start, stop in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        order = rng.permutation(np.arange(start, stop))
        matrix.indices[start:stop] = matrix.indices[order]
        matrix.data[start:stop] = matrix.data[order]
    matrix.has_sorted_indices = False
    return matrix


def in_parts(x):
    """Each count as one, and what is left as another."""
    matrix = sparse.csr_matrix(x)
    data = np.ravel(np.column_stack([np.ones_like(matrix.data), matrix.data - 1]))
    return sparse.csr_matrix((data, np.repeat(matrix.indices, 2), 2 * matrix.indptr), x.shape)


def lazy(x, folder):
    AnnData(x).write_h5ad(folder / "lazy.h5ad")
    return read_lazy(folder / "lazy.h5ad").X


FORMS = (
    {
        f"{name}, {dtype}": lambda x, _, make=make, dtype=dtype: make(x.astype(dtype))
        for name, make in FORMATS.items()
        for dtype in DTYPES
    }
    | STORED
    | {
        "read-only": lambda x, _: read_only(x.astype(np.float32)),
        "in any order": lambda x, _: in_any_order(x),
        "in parts": lambda x, _: in_parts(x),
        "in parts, big-endian": lambda x, _: typed(in_parts(x), ">f4"),
        "lazy": lazy,
        "lazy CSR": lambda x, folder: lazy(sparse.csr_matrix(x), folder),
    }
)


def registered(adata, **kwargs):
    SCVI.setup_anndata(adata, **kwargs)
    return SCVI(adata, n_hidden=2).adata_manager


def stores_of(manager):
    """Every store that can read the cells, whether or not it would be chosen for them."""
    for is_read_often in (False, True):
        source = CellSource(manager, is_read_often)
        names = list(STORES) if source.is_in_memory else ["file"]
        for name in names:
            yield f"{name}, {is_read_often}", STORES[name](source)


def check(minibatch, x, rows, message=""):
    got = minibatch["X"]
    assert got.layout == torch.sparse_csr
    assert got.shape == (len(rows), x.shape[1])
    assert got.crow_indices().dtype == got.col_indices().dtype == torch.int32
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.to_dense(), x[rows], err_msg=message)
    columns = [c.tolist() for c in np.split(got.col_indices(), got.crow_indices()[1:-1])]
    assert all(len(set(c)) == len(c) for c in columns), message


def check_invariants(x):
    parts = x.crow_indices(), x.col_indices(), x.values()
    torch.sparse_csr_tensor(*parts, size=x.shape, check_invariants=True)


@pytest.mark.parametrize("name", FORMS)
def test_minibatches_are_those_of_the_plain_cells(name, tmp_path):
    """Of every type, in every order, repeated, from the end, and of no cells at all."""
    x = draw_counts()
    matrix = FORMS[name](x, tmp_path)
    manager = registered(AnnData(matrix))
    for message, store in stores_of(manager):
        assert store.n_cells == N_CELLS
        for key, rows in ROWS.items():
            minibatch = store.take(rows)
            check(minibatch, x, rows, f"{message}: {key}")
            assert len(minibatch["batch"]) == len(rows)
        if name != "in any order":
            check_invariants(store.take(ROWS["repeated"])["X"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMATS)
def test_cells_without_counts(name, dtype):
    """First, in between, last; they cannot be registered. CSR is taken as it lies there."""
    x = draw_counts()
    adata = AnnData(FORMATS[name](x.astype(dtype)))
    manager = registered(adata)
    x[[0, 12, 29]] = 0
    adata.X = FORMATS[name](x.astype(dtype))
    for message, store in stores_of(manager):
        for rows in ROWS.values():
            check(store.take(rows), x, rows, message)
        if name.startswith("csr") and isinstance(store, MemoryStore):
            assert np.shares_memory(store.counts["X"].data, adata.X.data)
    np.testing.assert_array_equal(adata.X if "dense" in name else adata.X.toarray(), x)


def test_counts_of_a_layer():
    x = draw_counts()
    adata = AnnData(np.zeros((30, 7), np.float32), layers={"counts": sparse.csr_matrix(x)})
    for _, store in stores_of(registered(adata, layer="counts")):
        check(store.take([3, 1]), x, [3, 1])


def test_counts_stored_in_parts_are_one_count():
    """As scipy and scvi-tools read them; the likelihood takes each stored value for a count."""
    starts, genes = np.arange(0, 91, 3), np.tile([2, 0, 2], 30)
    adata = AnnData(sparse.csr_matrix((np.ones(90, np.float32), genes, starts), (30, 4)))
    for _, store in stores_of(registered(adata)):
        check(store.take([3, 1]), np.tile([1, 0, 2, 0], (30, 1)), [3, 1])
    assert adata.X.nnz == 90  # what the user holds stays as it is


@pytest.mark.parametrize("backed", [False, True])
def test_every_registered_column_as_scvi_gives_it(adata, backed, tmp_path):
    if backed:
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    manager = registered(adata, **REGISTERED)
    rows = np.array([17, 3, 21, 3, 59])
    want = next(iter(AnnDataLoader(manager, indices=rows, batch_size=5)))
    for _, store in stores_of(manager):
        got = store.take(rows)
        assert set(got) == set(want)
        assert len(want) == 6
        for key, values in want.items():
            assert got[key].dtype == values.dtype, key
            torch.testing.assert_close(got[key].to_dense(), values, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("form", ["csr", "dense", "read-only"])
def test_minibatches_are_copies(adata, form):
    x = adata.X if form == "csr" else adata.X.toarray()
    adata.X = read_only(x) if form == "read-only" else x
    manager = registered(adata)
    for _, store in stores_of(manager):
        before = store.take(np.arange(60))["X"].to_dense()
        for rows in ([1, 2], np.arange(60)):
            store.take(rows)["X"].values().mul_(0)
            store.take(rows)["batch"].fill_(9)
        assert torch.equal(store.take(np.arange(60))["X"].to_dense(), before)
        assert (store.take([1, 2])["batch"] == 0).all()
    np.testing.assert_array_equal(adata.X if form != "csr" else adata.X.toarray(), before)


@pytest.mark.parametrize("row", [30, -31])
def test_cells_that_are_not_there(row):
    for _, store in stores_of(registered(AnnData(sparse.csr_matrix(draw_counts())))):
        with pytest.raises(IndexError):
            store.take([0, row])


# -- which store -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "of_a_query", "of_training"),
    [
        ("csr, float32", "memory", "memory"),
        ("csr_array, int64", "memory", "memory"),
        ("csc, float32", "memory", "memory"),
        ("dense, float32", "file", "memory"),
        ("half precision", "file", "memory"),
        ("CSR, big-endian", "file", "memory"),
        ("file of CSR", "file", "file"),
        ("zarr", "file", "file"),
        ("lazy", "file", "file"),
        ("dask", "file", "file"),
    ],
)
def test_first_store_that_fits(form, of_a_query, of_training, tmp_path):
    """A query does not convert all cells to read some of them."""
    manager = registered(AnnData(FORMS[form](draw_counts(), tmp_path)))
    assert type(store_of(CellSource(manager))) is STORES[of_a_query]
    assert type(store_of(CellSource(manager, is_read_often=True))) is STORES[of_training]


def test_on_a_device(tmp_path, monkeypatch):
    """If the counts are in memory, are trained on, and fit; of a file not a value is read."""
    adata = AnnData(sparse.csr_matrix(draw_counts().astype(np.float32)))
    manager, device = registered(adata), torch.device("cuda")
    size = DeviceStore.size(adata.X)
    for free, fits in ((2 * size, False), (2 * size + 1, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
        assert DeviceStore.fits(CellSource(manager, True, device)) == fits
    assert not DeviceStore.fits(CellSource(manager, False, device))
    assert not DeviceStore.fits(CellSource(manager, True))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = CellSource(registered(read_h5ad(tmp_path / "cells.h5ad", backed="r")), True, device)
    assert not DeviceStore.fits(backed)
    with pytest.raises(ValueError, match="in memory"):
        DeviceStore(backed)


def test_size_on_a_device():
    x = sparse.csr_matrix(draw_counts())
    store = DeviceStore(CellSource(registered(AnnData(x))))
    counts = store.counts["X"]
    tensors = (counts.features, counts.values, counts.starts)
    assert DeviceStore.size(x) == sum(t.nbytes for t in tensors) == 8 * x.nnz + 8 * 31


def test_shape_of_what_is_tested():
    assert draw_counts().shape == (N_CELLS, N_GENES) == (30, 7)
