"""Cells whose counts are CSR in memory, gathered by compiled code."""

from __future__ import annotations

import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.data.matrices._repeats import has_repeats, without_repeats
from lucidvi.data.stores._annotations import Minibatch
from lucidvi.data.stores._store import CellSource, CellStore, Rows, positions


class MemoryStore(CellStore):
    """Cells in memory.

    Counts are held as CSR: as they lie there if they are CSR already, else converted once, which
    is done for cells that are read often.

    Parameters
    ----------
    source
        Cells in memory.
    """

    def __init__(self, source: CellSource) -> None:
        self.n_cells = source.n_cells
        self.annotations = source.annotations
        #: Whether it is known that no count is stored in parts; else each minibatch is looked at.
        self.is_checked = source.is_read_often
        self.counts = {
            key: without_repeats(counts) if self.is_checked else counts
            for key, counts in source.counts.items()
        }

    @classmethod
    def fits(cls, source: CellSource) -> bool:
        """Return whether the counts are CSR in memory, or will be read often enough to be it."""
        return source.is_in_memory and (source.is_read_often or source.is_csr)

    def take(self, rows: Rows) -> Minibatch:
        """See :meth:`CellStore.take`."""
        rows = positions(rows)
        minibatch = self.annotations.take(torch.from_numpy(rows))
        for key, counts in self.counts.items():
            parts = counts.indptr, counts.indices, counts.data
            x = kernels.copy_rows(parts, rows, counts.shape[1])
            minibatch[key] = x if self.is_checked else summed(x)
        return minibatch


def summed(x: Tensor) -> Tensor:
    """Return a CSR tensor in which every count is stored once, as the likelihood takes them."""
    if not has_repeats(x.crow_indices().numpy(), x.col_indices().numpy(), x.shape[1]):
        return x
    return kernels.as_csr(x.to_dense())
