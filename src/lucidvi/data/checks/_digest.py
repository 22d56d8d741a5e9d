r"""A number for each cell that changes when a count of it does.

.. math:: d_n = \sum_g b(x_{ng}) \, w_g \mod 2^{64}

where :math:`b` is the bit pattern of a value as the model reads it (float32; zero for zero) and
:math:`w_g` a pseudo-random 32-bit weight of the gene's position. The sum is exact in any order, so
it is the same for every format and data type of equal values, and it depends on which gene has
which value. Two rows with different values share it with a probability of about :math:`2^{-32}`.
It costs one pass over the stored values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from lucidvi.data.matrices._blocks import Block, blocks
from lucidvi.data.matrices._repeats import has_repeats, without_repeats
from lucidvi.data.matrices._stored import StoredCounts, readable_dtype
from lucidvi.kernels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Values of rows in a format that is not read in place, zeros included, that are copied at a time.
CHUNK = 2**20
NEGATIVE_ZERO = np.uint32(0x80000000)


@lru_cache(maxsize=8)
def gene_weights(n_genes: int) -> NDArray[np.uint32]:
    """Return a pseudo-random odd number for each position of a gene, shape ``(n_genes,)``."""
    with np.errstate(over="ignore"):  # splitmix64
        x = np.arange(1, n_genes + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


class CellDigests:
    """Digests of all cells of a matrix that is read block by block.

    Parameters
    ----------
    n_cells, n_genes
        Shape of the matrix.
    """

    def __init__(self, n_cells: int, n_genes: int) -> None:
        self.values = np.zeros(n_cells, dtype=np.uint64)
        self._weights = gene_weights(n_genes)

    def add(self, block: Block) -> None:
        """Add the values of a block to the digests of its cells."""
        rows = slice(block.first_row, block.first_row + block.n_rows)
        columns = slice(block.first_column, block.first_column + block.n_columns)
        cells, genes = (rows, columns) if block.by_cell else (columns, rows)
        out, weights = self.values[cells], self._weights[genes]
        if block.indptr is None or block.indices is None:
            bits = as_read(block.values).view(np.uint32).reshape(block.n_rows, block.n_columns)
            if block.by_cell:
                _add_dense(bits, np.arange(block.n_rows), weights, out)
            else:
                _add_dense_by_gene(bits, weights, out)
        elif block.by_cell:
            out += digests_of_values(_as_matrix(block), weights)
        else:
            by_gene = without_repeats(_as_matrix(block))
            bits = as_read(by_gene.data).view(np.uint32)
            _add_sparse_by_gene(by_gene.indptr, by_gene.indices, bits, weights, out)


def digests_of_rows(matrix: Any, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the digests of some cells of a matrix in memory, shape ``(n_rows,)``.

    Parameters
    ----------
    matrix
        NumPy array, or CSR or CSC of scipy, ``(n_cells, n_genes)``.
    rows
        Positions of the cells.
    """
    weights = gene_weights(matrix.shape[1])
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    out = np.zeros(len(rows), dtype=np.uint64)
    if _is_read_in_place(matrix):
        if isinstance(matrix, np.ndarray):
            _add_dense(matrix.view(np.uint32), rows, weights, out)
            return out
        is_sorted = _add_sparse(matrix.indptr, matrix.indices, matrix.data, rows, weights, out)
        if is_sorted or not has_repeats(matrix.indptr, matrix.indices, matrix.shape[1]):
            return out
    if sparse.issparse(matrix) and matrix.format == "csc":
        digests = CellDigests(*matrix.shape)
        for block in blocks(matrix, "matrix"):
            digests.add(block)
        return digests.values[rows]
    source = StoredCounts(matrix)  # scipy cannot take rows of all types
    for part, values in source.blocks(rows, CHUNK):
        out[part] = digests_of_values(values)
    return out


def digests_of_values(values: Any, weights: NDArray[np.uint32] | None = None) -> NDArray[Any]:
    """Return the digests of cells that have been read, shape ``(n_cells,)``.

    Parameters
    ----------
    values
        NumPy array or sparse matrix of scipy, ``(n_cells, n_genes)``.
    weights
        Weights of the genes; by default those of their positions in ``values``.
    """
    weights = gene_weights(values.shape[1]) if weights is None else weights
    out, rows = np.zeros(values.shape[0], dtype=np.uint64), np.arange(values.shape[0])
    if not sparse.issparse(values):
        _add_dense(as_read(np.asarray(values)).view(np.uint32), rows, weights, out)
        return out
    csr = values if values.format == "csr" else values.tocsr()
    if not _add_sparse(csr.indptr, csr.indices, as_read(csr.data), rows, weights, out):
        once = without_repeats(csr)
        if once is not csr:
            out[:] = 0
            _add_sparse(once.indptr, once.indices, as_read(once.data), rows, weights, out)
    return out


def as_read(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values as the model reads them."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _is_read_in_place(matrix: Any) -> bool:
    """Whether the compiled code can read a matrix as it lies in memory."""
    if isinstance(matrix, np.ndarray):
        return matrix.dtype == np.float32 and matrix.flags.c_contiguous
    dtype = matrix.data.dtype
    is_compiled = dtype.isnative and dtype.kind in "buif" and dtype.itemsize <= 8
    return matrix.format == "csr" and is_compiled and dtype != np.float16


def _as_matrix(block: Block) -> sparse.csr_matrix:
    shape = (block.n_rows, block.n_columns)
    values = block.values.astype(readable_dtype(block.values.dtype), copy=False)
    return sparse.csr_matrix((values, block.indices, block.indptr), shape=shape, copy=False)


@compiled()
def _add_sparse(indptr, indices, values, rows, weights, out):  # type: ignore[no-untyped-def]
    """Add up some rows of a CSR matrix; return whether the genes of each are in order.

    Slices and unsigned indices let the compiler leave out what Python's negative ones need, and
    take several values at a time: a fifth of the time.
    """
    n_disordered = np.int64(0)
    for i in range(rows.shape[0]):
        start, stop = np.int64(indptr[rows[i]]), np.int64(indptr[rows[i] + 1])
        genes, some = indices[start:stop], values[start:stop]
        total = np.uint64(0)
        for k in range(some.shape[0]):
            bits = np.float32(some[k]).view(np.uint32)
            value = np.uint32(0) if bits == NEGATIVE_ZERO else bits
            total += np.uint64(value) * np.uint64(weights[np.uint32(genes[k])])
        out[i] += total
        following, preceding = genes[1:], genes[:-1]
        disordered = np.int32(0)
        for k in range(following.shape[0]):
            disordered += np.int32(following[k] <= preceding[k])
        n_disordered += disordered
    return n_disordered == 0


@compiled()
def _add_sparse_by_gene(indptr, indices, bits, weights, out):  # type: ignore[no-untyped-def]
    for gene in range(indptr.shape[0] - 1):
        weight = np.uint64(weights[gene])
        for k in range(indptr[gene], indptr[gene + 1]):
            value = np.uint32(0) if bits[k] == NEGATIVE_ZERO else bits[k]
            out[np.uint32(indices[k])] += np.uint64(value) * weight


@compiled()
def _add_dense(bits, rows, weights, out):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        values = bits[rows[i]]
        total = np.uint64(0)
        for gene in range(values.shape[0]):
            value = np.uint32(0) if values[gene] == NEGATIVE_ZERO else values[gene]
            total += np.uint64(value) * np.uint64(weights[gene])
        out[i] += total


@compiled()
def _add_dense_by_gene(bits, weights, out):  # type: ignore[no-untyped-def]
    for gene in range(bits.shape[0]):
        weight = np.uint64(weights[gene])
        values = bits[gene]
        for cell in range(values.shape[0]):
            value = np.uint32(0) if values[cell] == NEGATIVE_ZERO else values[cell]
            out[cell] += np.uint64(value) * weight
