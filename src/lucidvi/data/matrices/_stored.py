"""Rows, in any order, of counts in files, in dask arrays, or of types that scipy cannot index."""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from lucidvi._compat import ArrayFakerSparse
from lucidvi.data.matrices._row_reader import RowReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: Values, zeros included, read at once from a file.
CHUNK = 2**25
#: Rows of a file are read with those between them, where these are at most so many. What zarr has
#: read of a chunk it forgets, and reads again for the next row.
NEAR, NEAR_IN_ZARR = 8, 128
#: Attribute of a dask array that is what reads its rows without dask.
JOINED = "lucidvi_joined"
#: Cells that tell how much memory one takes.
SOME = 256
#: Kinds of types that scipy computes with.
NUMBERS = "buifc"
#: Names of a sparse matrix's arrays in a file.
ARRAYS = ("indptr", "indices", "data")
#: Floating-point types that numba, scipy or torch cannot read, by size in bytes, and the types in
#: which their values are read instead.
WIDENED = {2: np.float32, 12: np.float64, 16: np.float64}


def is_stored(matrix: Any) -> bool:
    """Return whether a matrix is in a file, a dask array or a collection's: it has to be read."""
    on_disk = isinstance(matrix, CSRDataset | CSCDataset | h5py.Dataset | RowReader)
    return on_disk or is_dask(matrix) or is_zarr(matrix)


def has_rows_elsewhere(matrix: Any) -> bool:
    """Return whether rows of a matrix are read from files, without dask."""
    return hasattr(matrix, JOINED) or (is_stored(matrix) and not is_dask(matrix))


def is_in_memory(matrix: Any) -> bool:
    """Return whether a matrix can be read as it is: it is there, and not stored."""
    is_array = isinstance(matrix, np.ndarray) or sparse.issparse(matrix)
    return is_array and not isinstance(matrix, ArrayFakerSparse)


def is_sparse(matrix: Any) -> bool:
    """Return whether a matrix is a sparse one, in memory or in a file."""
    return sparse.issparse(matrix) or isinstance(matrix, CSRDataset | CSCDataset)


def is_dask(matrix: Any) -> bool:
    """Return whether a matrix is a dask array, without importing dask."""
    dask_array = sys.modules.get("dask.array")  # imported by whoever made such an array
    return dask_array is not None and isinstance(matrix, dask_array.Array)


def is_zarr(matrix: Any) -> bool:
    """Return whether a matrix is a dense array of zarr, without importing zarr."""
    zarr = sys.modules.get("zarr")
    return zarr is not None and isinstance(matrix, zarr.Array)


def readable_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which values are read: native byte order, no half or long double."""
    if dtype.kind == "f" and dtype.itemsize in WIDENED:
        return np.dtype(WIDENED[dtype.itemsize])
    return dtype.newbyteorder("=")


def is_readable(matrix: Any) -> bool:
    """Return whether a matrix is in memory and of a type that needs no conversion."""
    if isinstance(matrix, np.ndarray):
        return matrix.dtype == readable_dtype(matrix.dtype)
    is_native = sparse.issparse(matrix) and matrix.dtype == readable_dtype(matrix.dtype)
    return is_native and matrix.dtype.kind in NUMBERS


def scvi_reads(matrix: Any) -> bool:
    """Return whether scvi-tools reads a matrix as it is."""
    if isinstance(matrix, CSRDataset | CSCDataset | h5py.Dataset):
        return matrix.dtype == readable_dtype(matrix.dtype)
    return is_readable(matrix) and not isinstance(matrix, sparse.sparray)


class Compressed:
    """The three arrays of a sparse matrix, in memory or in a file, and rows of them.

    Rows are cells of CSR, and genes of CSC.

    Parameters
    ----------
    matrix
        A CSR or CSC matrix of scipy, or a ``CSRDataset`` or ``CSCDataset`` of anndata.
    """

    def __init__(self, matrix: Any) -> None:
        if sparse.issparse(matrix):
            self.by_cell = matrix.format == "csr"
            indptr, self.indices, self.data = matrix.indptr, matrix.indices, matrix.data
        else:
            self.by_cell = isinstance(matrix, CSRDataset)
            indptr, self.indices, self.data = (matrix.group[name] for name in ARRAYS)
        self.indptr = np.asarray(indptr[:]).astype(np.int64, copy=False)
        self.n_rows, self.n_columns = matrix.shape if self.by_cell else matrix.shape[::-1]

    def take(self, rows: NDArray[np.integer]) -> sparse.csr_matrix:
        """Return rows, given by their positions in ascending order, of a readable type."""
        starts, stops = self.indptr[rows], self.indptr[rows + 1]
        apart = np.flatnonzero(starts[1:] != stops[:-1])  # what lies together is read at once
        runs = list(zip(starts[[0, *(apart + 1)]], stops[[*apart, -1]], strict=True))
        indptr = np.concatenate([[0], np.cumsum(stops - starts)])
        arrays = (_runs(self.data, runs), _runs(self.indices, runs), indptr)
        return sparse.csr_matrix(arrays, shape=(len(rows), self.n_columns))


def _runs(values: Any, runs: list[tuple[int, int]]) -> NDArray[Any]:
    parts = [np.asarray(values[start:stop]) for start, stop in runs]
    return np.concatenate(parts).astype(readable_dtype(values.dtype), copy=False)


class StoredCounts:
    """A matrix, ``(n_cells, n_genes)``, of which rows are read when they are asked for.

    Indexed by rows (positions in any order, repeated or negative ones, a mask, a slice), it gives
    them as an array or a ``csr_array``, in native byte order and without half precision. What is
    stored gene by gene (CSC) has no rows to read, so all of it is read the first time.

    Parameters
    ----------
    matrix
        A numpy array or sparse matrix, one in a file, a dask array, or a :class:`RowReader`.
    """

    def __init__(self, matrix: Any) -> None:
        matrix = getattr(matrix, JOINED, matrix)
        self.shape: tuple[int, int] = tuple(matrix.shape)
        self.dtype = readable_dtype(np.dtype(matrix.dtype))
        if is_dask(matrix) and matrix.dtype != self.dtype:
            matrix = matrix.map_blocks(readable, dtype=self.dtype)
        self.matrix = matrix

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any] | sparse.csr_array:
        """Return some of the rows, in memory."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        if len(rows) == 0:
            return np.zeros((0, self.shape[1]), dtype=self.dtype)
        if (np.diff(rows) > 0).all():
            taken = self._ascending(rows)
        else:
            distinct, back = np.unique(rows, return_inverse=True)
            taken = self._ascending(distinct)[back]
        # An array, since scipy's matrices are multiplied by what numpy's arrays are scaled by.
        return sparse.csr_array(taken, copy=False) if sparse.issparse(taken) else taken

    @property
    def is_in_memory(self) -> bool:
        """Whether the values are in memory, if not in a form that can be used as it is."""
        return not is_stored(self.matrix)

    @cached_property
    def bytes_per_cell(self) -> int:
        """Bytes that a cell takes in memory, as a first run of cells says."""
        some: Any = self[: min(len(self), SOME)]
        if not sparse.issparse(some):
            return self.shape[1] * self.dtype.itemsize
        return 8 * some.nnz // max(1, len(some.indptr) - 1) + 8

    def sum(self, axis: int) -> NDArray[np.floating]:
        """Return the sums of the cells (``axis=1``) or genes (``axis=0``), read part by part."""
        sums = [np.ravel(part.sum(axis=axis, dtype=float)) for _, part in self.blocks()]
        return np.sum(sums, axis=0) if axis == 0 else np.concatenate(sums)

    def take(
        self, cells: NDArray[np.integer], genes: NDArray[np.integer]
    ) -> NDArray[Any] | sparse.csr_array:
        """Return some cells and genes, in this order; of a file, read part by part."""
        if self._compressed is not None and not self._compressed.by_cell:
            distinct, back = np.unique(genes, return_inverse=True)
            return sparse.csr_array(self._compressed.take(distinct)[back].T)[cells]
        if is_dask(self.matrix):
            return readable(self.matrix[:, genes][cells].compute())
        parts = [part[:, genes] for _, part in self.blocks(cells)]
        return sparse.vstack(parts, "csr") if sparse.issparse(parts[0]) else np.concatenate(parts)

    def blocks(
        self, cells: NDArray[np.integer] | None = None, n_values: int | None = None
    ) -> Iterator[tuple[slice, NDArray[Any] | sparse.csr_array]]:
        """Yield some cells after the other, and which ones they are.

        Parameters
        ----------
        cells
            Positions of the cells; by default all.
        n_values
            Values, zeros included, that are read at once; by default 32 million.

        Yields
        ------
        Where the cells of a block are among ``cells``, and their counts. Of no cells one empty
        block.
        """
        cells = np.arange(len(self)) if cells is None else cells
        for part in steps(max(1, len(cells)), self.shape[1], n_values):
            yield slice(part.start, min(part.stop, len(cells))), self[cells[part]]

    def _ascending(self, rows: NDArray[np.integer]) -> NDArray[Any] | sparse.csr_matrix:
        """Return rows in ascending order, each once."""
        if not self.is_in_memory:
            # As many at a time as are read at once elsewhere, with what lies between them.
            n_read = np.cumsum(np.minimum(np.diff(rows, prepend=rows[0] - 1), self._near + 1))
            piece = n_read // max(1, CHUNK // max(1, self.shape[1]))
            pieces = np.split(rows, np.flatnonzero(np.diff(piece)) + 1)
            return stacked([self._with_between(some) for some in pieces])
        if self._compressed is None:
            return readable(self.matrix[rows])
        return self._compressed.take(rows) if self._compressed.by_cell else self._by_cell[rows]

    @property
    def _near(self) -> int:
        """Rows between two others that are read with them."""
        arrays = self.matrix if self._compressed is None else self._compressed.data
        return NEAR_IN_ZARR if is_zarr(arrays) else NEAR

    def _with_between(self, rows: NDArray[np.integer]) -> NDArray[Any] | sparse.csr_matrix:
        """Return rows of a file, read together with those between them that are few."""
        first, stop = runs(rows, self._near)
        read = self._runs(first, stop)
        if read.shape[0] == len(rows):
            return read
        # Where each run begins among the rows that are read.
        begin = np.cumsum(stop - first) - (stop - first)
        run = np.searchsorted(first, rows, side="right") - 1
        return read[begin[run] + rows - first[run]]

    def _runs(
        self, first: NDArray[np.integer], stop: NDArray[np.integer]
    ) -> NDArray[Any] | sparse.csr_matrix:
        """Return runs of consecutive rows, one after the other."""
        if self._compressed is not None:
            rows = within(first, stop)
            return self._compressed.take(rows) if self._compressed.by_cell else self._by_cell[rows]
        parts = [self.matrix[int(a) : int(b)] for a, b in zip(first, stop, strict=True)]
        if is_dask(self.matrix):
            parts = list(sys.modules["dask"].compute(*parts))
        return stacked(list(map(readable, parts)))

    @cached_property
    def _compressed(self) -> Compressed | None:
        return Compressed(self.matrix) if is_sparse(self.matrix) else None

    @cached_property
    def _by_cell(self) -> sparse.csr_matrix:
        """All of a matrix that is stored gene by gene."""
        assert self._compressed is not None
        if not self.is_in_memory:
            logger.info(
                "Counts are stored gene by gene (CSC), where no cell can be read alone: all of "
                "them are read into memory."
            )
        return sparse.csr_matrix(self._compressed.take(np.arange(self.shape[1])).T)


def steps(
    n_rows: int, n_columns: int, n_values: int | None = None, multiple_of: int = 1
) -> Iterator[slice]:
    """Yield slices of consecutive rows that are read at once.

    Parameters
    ----------
    n_rows, n_columns
        Shape of the matrix.
    n_values
        Values, zeros included, of a block of rows; by default 32 million.
    multiple_of
        Rows of a block are a multiple of these, such as those of a file's chunks.
    """
    n = max(1, (CHUNK if n_values is None else n_values) // max(1, n_columns))
    n = -(-n // multiple_of) * multiple_of
    for first in range(0, n_rows, n):
        yield slice(first, min(first + n, n_rows))


def readable(rows: Any) -> NDArray[Any] | sparse.csr_matrix:
    """Return rows that are in memory as an array or ``csr_matrix`` of a readable type."""
    dtype = readable_dtype(rows.dtype)
    if not sparse.issparse(rows):
        return np.asarray(rows).astype(dtype, copy=False)
    rows = rows if rows.dtype == dtype else rows.astype(dtype)
    return sparse.csr_matrix(rows, copy=False)


def in_memory(matrix: Any) -> NDArray[Any] | sparse.csr_matrix:
    """Return a whole matrix as an array or ``csr_matrix`` in memory, of a readable type."""
    if is_readable(matrix):
        return sparse.csr_matrix(matrix, copy=False) if sparse.issparse(matrix) else matrix
    whole = (matrix if isinstance(matrix, StoredCounts) else StoredCounts(matrix))[:]
    return sparse.csr_matrix(whole, copy=False) if sparse.issparse(whole) else whole


def stacked(parts: list[Any]) -> NDArray[Any] | sparse.csr_matrix:
    """Return rows below each other, arrays or CSR."""
    if len(parts) == 1:
        return parts[0]
    return sparse.vstack(parts, "csr") if sparse.issparse(parts[0]) else np.concatenate(parts)


def runs(
    rows: NDArray[np.integer], near: int = 0
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return where runs of rows begin and stop, those in one run at most ``near`` rows apart.

    Parameters
    ----------
    rows
        Positions in ascending order, at least one.
    near
        Rows between two of them that do not end a run.
    """
    apart = np.flatnonzero(np.diff(rows) > near + 1)
    return rows[np.r_[0, apart + 1]], rows[np.r_[apart, -1]] + 1


def within(first: NDArray[np.integer], stop: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return all rows of some runs."""
    return np.concatenate([np.arange(a, b) for a, b in zip(first, stop, strict=True)])
