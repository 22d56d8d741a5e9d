"""Entries of a sparse matrix that are stored more than once, where their sum is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from lucidvi.kernels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def has_repeats(starts: NDArray[Any], genes: NDArray[Any], n_genes: int) -> bool:
    """Whether a gene is stored twice in a row of a CSR matrix; their sum is meant.

    Mostly the genes of each row are in order, which scipy sees without compiling anything.
    """
    shape = (len(starts) - 1, n_genes)
    in_order = sparse.csr_matrix((genes, genes, starts), shape=shape).has_canonical_format
    return not in_order and _has_repeats(starts, genes, n_genes)


@compiled()
def _has_repeats(starts, genes, n_genes):  # type: ignore[no-untyped-def]
    last_row = np.full(n_genes, -1, np.int64)
    for row in range(starts.shape[0] - 1):
        for k in range(starts[row], starts[row + 1]):
            if last_row[genes[k]] == row:
                return True
            last_row[genes[k]] = row
    return False
