"""Cells that lie on a device, gathered there."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS

from lucidvi import kernels
from lucidvi.data.matrices._repeats import without_repeats
from lucidvi.data.stores._store import CellSource, CellStore, Minibatch, Rows, positions
from lucidvi.errors import DataError

#: Share of a device's free memory that the counts may take.
DEVICE_SHARE = 0.5


class DeviceStore(CellStore):
    """Cells on a device, for training.

    Parameters
    ----------
    source
        Cells in memory, and the device where they go.
    """

    def __init__(self, source: CellSource) -> None:
        if not source.is_in_memory:
            raise DataError(
                "Only counts in memory can be moved to a device, and these are "
                f"a {type(source.matrix.matrix).__name__}.",
                remedy="store_of(source), which chooses a store that fits.",
            )
        x = without_repeats(source.counts)
        self.device = source.device
        self.n_cells, self.n_genes = x.shape
        self.covariates = {key: v.to(self.device) for key, v in source.covariates.items()}
        # Kept here too, so that the size of a minibatch is known without asking the device.
        self.lengths = torch.from_numpy(np.diff(x.indptr).astype(np.int64))
        self.starts = torch.from_numpy(x.indptr.astype(np.int64)).to(self.device)
        self.genes = torch.from_numpy(x.indices.astype(np.int32, copy=False)).to(self.device)
        self.counts = torch.from_numpy(x.data.astype(np.float32, copy=False)).to(self.device)

    @classmethod
    def fits(cls, source: CellSource) -> bool:
        """Return whether cells in memory are read often on a GPU that has room for them."""
        if source.device.type != "cuda" or not (source.is_read_often and source.is_in_memory):
            return False
        free, _ = torch.cuda.mem_get_info(source.device)
        return cls.size(source.counts) < DEVICE_SHARE * free

    @staticmethod
    def size(counts: sparse.csr_matrix) -> int:
        """Bytes that counts take on a device."""
        return 8 * counts.nnz + 8 * (counts.shape[0] + 1)

    def take(self, rows: Rows) -> Minibatch:
        """See :meth:`CellStore.take`."""
        index = torch.from_numpy(positions(rows))
        n_values = int(self.lengths[index].sum())
        index = index.to(self.device)
        minibatch = {key: values[index] for key, values in self.covariates.items()}
        parts = self.starts, self.genes, self.counts
        minibatch[REGISTRY_KEYS.X_KEY] = kernels.gather_rows(parts, index, self.n_genes, n_values)
        return minibatch
