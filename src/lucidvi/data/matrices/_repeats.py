"""Entries of a sparse matrix that are stored more than once, where their sum is meant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


def without_repeats(matrix: Any) -> Any:
    """Return a CSR matrix with each entry stored once: itself, or a copy with the sums.

    Parameters
    ----------
    matrix
        Matrix of scipy with ``indptr`` and ``indices``. It is not changed.
    """
    if not has_repeats(matrix.indptr, matrix.indices, matrix.shape[1]):
        return matrix
    summed = matrix.copy()
    summed.sum_duplicates()
    return summed


@njit(cache=True)
def has_repeats(starts, genes, n_genes):  # type: ignore[no-untyped-def]
    """Whether a gene is stored twice in a row of a CSR matrix; their sum is meant."""
    if _is_ascending(starts, genes):
        return False
    last_row = np.full(n_genes, -1, np.int64)
    for row in range(starts.shape[0] - 1):
        for k in range(starts[row], starts[row + 1]):
            if last_row[genes[k]] == row:
                return True
            last_row[genes[k]] = row
    return False


@njit(cache=True)
def _is_ascending(starts, genes):  # type: ignore[no-untyped-def]
    """Whether the genes of each row are in order, as they mostly are; no gene is then twice."""
    for row in range(starts.shape[0] - 1):
        here = genes[starts[row] : starts[row + 1]]
        following, preceding = here[1:], here[:-1]
        n_disordered = 0
        for k in range(following.shape[0]):
            n_disordered += following[k] <= preceding[k]
        if n_disordered > 0:
            return False
    return True
