"""Entries of a sparse matrix that are stored more than once, where their sum is meant."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def has_repeats(starts, genes, n_genes):  # type: ignore[no-untyped-def]
    """Whether a gene is stored twice in a row of a CSR matrix; their sum is meant."""
    last_row = np.full(n_genes, -1, np.int64)
    for row in range(starts.shape[0] - 1):
        for k in range(starts[row], starts[row + 1]):
            if last_row[genes[k]] == row:
                return True
            last_row[genes[k]] = row
    return False
