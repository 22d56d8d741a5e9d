"""Counts of a model's genes, read from any matrix part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from anndata.abc import CSCDataset
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.data import StoredCounts


@dataclass(frozen=True)
class ModelCounts:
    """Counts of a model's genes in a query.

    A matrix that is stored cell by cell is never read as a whole. One that is stored gene by gene
    (CSC) cannot be read by cells, so the counts of the model's genes are all read at once.

    Parameters
    ----------
    matrix
        Counts of the query's genes, shape ``(n_cells, n_query_genes)``: an array, a sparse
        matrix, one of these in a file, or a dask array of them.
    selection
        Zeros and ones, shape ``(n_query_genes, n_model_genes)``.
    """

    matrix: Any
    selection: sparse.csr_matrix

    def of(self, cells: NDArray[np.integer]) -> sparse.csr_matrix:
        """Return the counts of some cells, in ascending order, ``(len(cells), n_model_genes)``."""
        if _is_by_gene(self.matrix):
            return self._all_by_gene[cells]
        parts = [rows @ self.selection for rows in self._rows(cells)]
        x = sparse.vstack(parts, format="csr")
        x.sort_indices()
        return sparse.csr_matrix(x)

    def blocks(self) -> Iterator[tuple[NDArray[np.integer], sparse.csr_matrix]]:
        """Yield positions of cells, and their counts, some cells at a time."""
        every = np.arange(self.matrix.shape[0])
        if _is_by_gene(self.matrix):
            yield every, self._all_by_gene
            return
        start = 0
        for rows in self._rows(every):
            yield every[start : start + rows.shape[0]], rows @ self.selection
            start += rows.shape[0]

    @property
    def totals(self) -> NDArray[np.floating]:
        """Total count of each cell, shape ``(n_cells,)``."""
        if _is_by_gene(self.matrix):
            return np.asarray(self._all_by_gene.sum(axis=1)).ravel()
        wanted = np.asarray(self.selection.sum(axis=1)).ravel()
        every = np.arange(self.matrix.shape[0])
        return np.concatenate([rows @ wanted for rows in self._rows(every)])

    def _rows(self, cells: NDArray[np.integer]) -> Iterator[sparse.csr_matrix]:
        """Yield the counts of all genes, some cells at a time."""
        for _, rows in StoredCounts(self.matrix).blocks(cells):
            yield sparse.csr_matrix(rows).astype(np.float32)

    @cached_property
    def _all_by_gene(self) -> sparse.csr_matrix:
        wanted = np.flatnonzero(self.selection.getnnz(axis=1))
        columns = StoredCounts(self.matrix).take(np.arange(self.matrix.shape[0]), wanted)
        x = sparse.csr_matrix(columns).astype(np.float32) @ self.selection[wanted]
        x.sort_indices()
        return sparse.csr_matrix(x)


def _is_by_gene(matrix: Any) -> bool:
    if hasattr(matrix, "chunks") and hasattr(matrix, "numblocks"):  # dask
        n_rows, n_columns = matrix.numblocks
        return n_rows == 1 and n_columns > 1
    return isinstance(matrix, CSCDataset) or (sparse.issparse(matrix) and matrix.format == "csc")
