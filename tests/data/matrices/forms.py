"""Forms in which one and the same matrix of counts may come."""

import anndata
import dask.array as da
import h5py
import numpy as np
import zarr
from anndata import AnnData
from scipy import sparse

N_CELLS, N_GENES = 30, 7


def draw_counts():
    return np.random.default_rng(0).poisson(0.7, (N_CELLS, N_GENES)) + np.eye(
        N_CELLS, N_GENES, dtype=int
    )


def typed(matrix, dtype):
    """A sparse matrix of any type; scipy converts to its own only."""
    matrix.data = matrix.data.astype(dtype)
    return matrix


def in_file(matrix, folder):
    AnnData(matrix).write_h5ad(folder / "cells.h5ad")
    return anndata.read_h5ad(folder / "cells.h5ad", backed="r").X


def in_zarr(matrix, folder):
    group = zarr.open_group(folder / "cells.zarr", mode="w")
    anndata.io.write_elem(group, "X", matrix)
    x = group["X"]
    return anndata.io.sparse_dataset(x) if isinstance(x, zarr.Group) else x


FORMS = {
    "half precision": lambda x, _: x.astype(np.float16),
    "big-endian": lambda x, _: x.astype(">i4"),
    "long double": lambda x, _: x.astype(np.longdouble),
    "CSR, half precision": lambda x, _: typed(sparse.csr_matrix(x), np.float16),
    "CSR, big-endian": lambda x, _: typed(sparse.csr_array(x), ">f8"),
    "CSC, half precision": lambda x, _: typed(sparse.csc_matrix(x), np.float16),
    "dask": lambda x, _: da.from_array(x, chunks=(11, 3)),
    "dask, half precision": lambda x, _: da.from_array(x.astype(np.float16), chunks=(11, 3)),
    "dask of CSR": lambda x, _: da.from_array(x, chunks=(11, 3)).map_blocks(sparse.csr_matrix),
    "dask of CSC": lambda x, _: da.from_array(x, chunks=(30, 3)).map_blocks(sparse.csc_array),
    "file": lambda x, folder: in_file(x, folder),
    "file, big-endian": lambda x, folder: in_file(x.astype(">f4"), folder),
    "file of CSR": lambda x, folder: in_file(sparse.csr_matrix(x), folder),
    "file of CSC": lambda x, folder: in_file(sparse.csc_matrix(x), folder),
    "file of CSR, half precision": lambda x, folder: in_file(
        typed(sparse.csr_matrix(x), np.float16), folder
    ),
    "zarr": lambda x, folder: in_zarr(x, folder),
    "zarr of CSR": lambda x, folder: in_zarr(sparse.csr_matrix(x), folder),
    "HDF5 of another": lambda x, folder: h5py.File(folder / "x.h5", "w").create_dataset(
        "x", data=x
    ),
}
