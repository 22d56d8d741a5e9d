"""Cells that are read when they are asked for: from a file, a dask array, a collection."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from lucidvi import kernels
from lucidvi.data.matrices._broken import readable_rows
from lucidvi.data.matrices._repeats import without_repeats
from lucidvi.data.matrices._stored import StoredCounts
from lucidvi.data.stores._annotations import Minibatch
from lucidvi.data.stores._store import CellSource, CellStore, Rows, as_tensor, positions


class FileStore(CellStore):
    """Cells whose counts are read, and made CSR, when they are asked for.

    Those in memory that are not CSR are read so by a query, which asks for some of them once.
    Counts that come from elsewhere are compared with those that were checked.

    Parameters
    ----------
    source
        Cells in any form.
    """

    def __init__(self, source: CellSource) -> None:
        self.n_cells = source.n_cells
        self.annotations = source.annotations
        self.adata_manager = source.adata_manager
        self.stored = {
            key: matrix if isinstance(matrix, StoredCounts) else StoredCounts(matrix)
            for key, matrix in source.matrices.items()
        }

    @classmethod
    def fits(cls, source: CellSource) -> bool:
        """Return True: rows of every form can be read."""
        return True

    def take(self, rows: Rows) -> Minibatch:
        """See :meth:`CellStore.take`."""
        rows = positions(rows)
        minibatch = self.annotations.take(torch.from_numpy(rows))
        for key, stored in self.stored.items():
            if stored.is_in_memory:
                minibatch[key] = _csr(stored[rows])
                continue
            with readable_rows(stored.matrix, rows):
                counts = stored[rows]
                self.adata_manager.check_values(rows, counts, key)
            minibatch[key] = _csr(counts)
        return minibatch


def _csr(counts: np.ndarray | sparse.csr_array) -> Tensor:
    if not sparse.issparse(counts):
        return kernels.as_csr(as_tensor(counts, np.float32))
    counts = without_repeats(counts)
    parts = counts.indptr, counts.indices, counts.data
    starts, genes, values = (
        torch.from_numpy(part.astype(dtype, copy=False))
        for part, dtype in zip(parts, (np.int32, np.int32, np.float32), strict=True)
    )
    return kernels.csr(starts, genes, values, counts.shape[1])
