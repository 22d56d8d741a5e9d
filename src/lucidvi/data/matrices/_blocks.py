"""Any count matrix as a stream of blocks that fit into the cache, each value met once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from lucidvi.data.matrices._stored import Compressed, is_dask, is_sparse, is_stored, steps
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**16
"""Values in a block: 256 KiB of float32, which stays in a core's cache."""


@dataclass(frozen=True)
class Block:
    """Some consecutive cells (``by_cell``) or genes of a matrix, in memory.

    The cells (or genes) that the block consists of are its rows, whatever they are in the matrix.

    Parameters
    ----------
    values
        Stored values, row after row, ``(n_values,)``.
    n_rows, n_columns
        Shape of the block.
    by_cell
        Whether rows are cells and columns genes, or the other way round.
    indptr, indices
        Where each row starts in `values`, and the column of each value; None if dense.
    first_row, first_column
        Where the block starts in the matrix.
    """

    values: NDArray[Any]
    n_rows: int
    n_columns: int
    by_cell: bool
    indptr: NDArray[np.integer] | None = None
    indices: NDArray[np.integer] | None = None
    first_row: int = 0
    first_column: int = 0

    def locate(self, positions: NDArray[np.integer]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the cell and the gene, counted in the matrix, of some of the values."""
        if self.indptr is None or self.indices is None:
            rows, columns = np.divmod(positions, self.n_columns)
        else:
            rows = np.searchsorted(self.indptr, positions, side="right") - 1
            columns = self.indices[positions].astype(np.int64)
        rows, columns = rows + self.first_row, columns + self.first_column
        return (rows, columns) if self.by_cell else (columns, rows)

    def in_first_cells(self, shape: tuple[int, int]) -> sparse.csr_matrix:
        """Return the values that lie in the first cells of the matrix, ``(n_cells, n_genes)``."""
        positions = np.flatnonzero(self.values)
        cells, genes = self.locate(positions)
        kept = cells < shape[0]
        entries = self.values[positions[kept]].astype(float), (cells[kept], genes[kept])
        return sparse.coo_matrix(entries, shape).tocsr()

    def mark_positive(self, cells: NDArray[np.bool_]) -> None:
        """Set the entries of `cells`, ``(n_cells,)``, that have a positive value in this block."""
        if self.by_cell:
            cells[self.first_row : self.first_row + self.n_rows] |= self._positive_rows()
        elif self.indices is None:
            columns = self.values.reshape(self.n_rows, self.n_columns).max(axis=0)
            cells[self.first_column : self.first_column + self.n_columns] |= columns > 0
        else:
            cells[self.indices[self.values > 0] + self.first_column] = True

    def _positive_rows(self) -> NDArray[np.bool_]:
        if self.indptr is None:
            return self.values.reshape(self.n_rows, self.n_columns).max(axis=1) > 0
        positive = np.zeros(self.n_rows, dtype=bool)
        stored = np.flatnonzero(np.diff(self.indptr))
        if stored.size:
            positive[stored] = np.maximum.reduceat(self.values, self.indptr[stored]) > 0
        return positive


def blocks(matrix: Any, place: str) -> Iterator[Block]:
    """Yield `matrix`, ``(n_cells, n_genes)``, block by block, without a copy of the whole.

    Parameters
    ----------
    matrix
        A numpy array, scipy CSR or CSC (matrix or array), a ``CSRDataset``, ``CSCDataset``,
        ``h5py.Dataset`` or ``zarr.Array`` in a file, a layer of a collection, or a dask array of
        these.
    place
        How the matrix is called in an error, e.g. ``"adata.X"``.
    """
    if isinstance(matrix, np.ma.MaskedArray):
        raise _masked(matrix, place)
    if isinstance(matrix, np.ndarray):
        yield from _dense_blocks(matrix)
    elif sparse.issparse(matrix) and matrix.format in ("csr", "csc"):
        _check_places(matrix, place)
        yield from _sparse_blocks(matrix)
    elif is_dask(matrix):
        yield from _dask_blocks(matrix, place)
    elif is_stored(matrix):
        yield from _file_blocks(matrix, place)
    else:
        raise _unknown_format(matrix, place)


def _dense_blocks(matrix: NDArray[Any]) -> Iterator[Block]:
    by_cell = matrix.flags.c_contiguous or not matrix.flags.f_contiguous
    rows = matrix if by_cell else matrix.T
    n_rows, n_columns = rows.shape
    for part in steps(n_rows, n_columns, BLOCK):
        values = np.ascontiguousarray(rows[part])
        yield Block(values.reshape(-1), len(values), n_columns, by_cell, first_row=part.start)


def _sparse_blocks(matrix: Any) -> Iterator[Block]:
    by_cell = matrix.format == "csr"
    n_rows, n_columns = matrix.shape if by_cell else matrix.shape[::-1]
    indptr, first = matrix.indptr, 0
    while first < n_rows:
        # A key of the array's own type, else searchsorted converts the array at each call.
        full = indptr.dtype.type(min(int(indptr[first]) + BLOCK, int(indptr[-1])))
        last = int(np.searchsorted(indptr, full, side="right")) - 1
        last = min(max(last, first + 1), n_rows)
        start, stop = indptr[first], indptr[last]
        yield Block(
            matrix.data[start:stop],
            last - first,
            n_columns,
            by_cell,
            indptr=indptr[first : last + 1] - start,
            indices=matrix.indices[start:stop],
            first_row=first,
        )
        first = last


def _file_blocks(matrix: Any, place: str) -> Iterator[Block]:
    arrays = Compressed(matrix) if is_sparse(matrix) else None
    by_cell = arrays is None or arrays.by_cell
    n_rows, n_columns = matrix.shape if by_cell else matrix.shape[::-1]
    in_chunks = matrix.chunks[0] if arrays is None and matrix.chunks else 1
    for rows in steps(n_rows, n_columns, multiple_of=in_chunks):
        part = matrix[rows] if arrays is None else arrays.take(np.arange(rows.start, rows.stop))
        part, start = (part, {"cell": rows.start}) if by_cell else (part.T, {"gene": rows.start})
        yield from _shifted(blocks(part, place), **start)


def _dask_blocks(matrix: Any, place: str) -> Iterator[Block]:
    cells, genes = (np.cumsum([0, *sizes]) for sizes in matrix.chunks)
    for i, j in np.ndindex(*matrix.numblocks):
        part = matrix.blocks[i, j].compute()
        yield from _shifted(blocks(part, place), cell=int(cells[i]), gene=int(genes[j]))


def _shifted(parts: Iterator[Block], cell: int = 0, gene: int = 0) -> Iterator[Block]:
    for part in parts:
        row, column = (cell, gene) if part.by_cell else (gene, cell)
        yield replace(
            part, first_row=part.first_row + row, first_column=part.first_column + column
        )


def _masked(matrix: np.ma.MaskedArray[Any, Any], place: str) -> DataError:
    n_masked = int(np.ma.getmaskarray(matrix).sum())
    return DataError(
        f"{place} is a masked array ({n_masked:,} of {matrix.size:,} values are masked); whether "
        "a masked count is zero or not known is not said.",
        remedy=f"{place} = {place}.filled(0) if what is masked is zero.",
    )


def _check_places(matrix: Any, place: str) -> None:
    """Raise of a sparse matrix whose values are at places that are no whole numbers."""
    for name in ("indptr", "indices"):
        dtype = getattr(matrix, name).dtype
        if dtype.kind not in "iu":
            raise DataError(
                f"{place}.{name} has dtype {dtype}; where counts are is said in whole numbers.",
                remedy="load the counts again, from a file that is whole.",
            )


def _unknown_format(matrix: Any, place: str) -> DataError:
    kind = f"{type(matrix).__module__.partition('.')[0]}.{type(matrix).__name__}"
    remedy = f"import scipy.sparse; {place} = scipy.sparse.csr_matrix({place})"
    if matrix is None:
        kind, remedy = "None", 'name the layer that holds the counts, e.g. layer="counts".'
    return DataError(
        f"{place} is {kind}; counts must be a numpy array, a sparse CSR or CSC matrix, "
        "one of these on disk (backed), or a dask array of them.",
        remedy=remedy,
    )
