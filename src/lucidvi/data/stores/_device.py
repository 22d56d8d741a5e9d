"""Cells that lie on a device, gathered there."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from lucidvi import kernels
from lucidvi.data.matrices._repeats import without_repeats
from lucidvi.data.matrices._stored import StoredCounts
from lucidvi.data.stores._annotations import Minibatch
from lucidvi.data.stores._store import CellSource, CellStore, Rows, positions
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
        stored = [m for m in source.matrices.values() if isinstance(m, StoredCounts)]
        if not source.is_in_memory:
            raise DataError(
                "Only counts in memory can be moved to a device, and these are "
                f"a {type(stored[0].matrix).__name__}.",
                remedy="store_of(source), which chooses a store that fits.",
            )
        self.device = source.device
        self.n_cells = source.n_cells
        self.annotations = source.annotations.to(self.device)
        self.counts = {key: DeviceCounts(x, self.device) for key, x in source.counts.items()}

    @classmethod
    def fits(cls, source: CellSource) -> bool:
        """Return whether cells in memory are read often on a GPU that has room for them."""
        if source.device.type != "cuda" or not (source.is_read_often and source.is_in_memory):
            return False
        free, _ = torch.cuda.mem_get_info(source.device)
        return sum(map(cls.size, source.counts.values())) < DEVICE_SHARE * free

    @staticmethod
    def size(counts: sparse.csr_matrix) -> int:
        """Bytes that counts take on a device."""
        return 8 * counts.nnz + 8 * (counts.shape[0] + 1)

    def take(self, rows: Rows) -> Minibatch:
        """See :meth:`CellStore.take`."""
        cells = torch.from_numpy(positions(rows))
        index = cells.to(self.device)
        minibatch = self.annotations.take(index)
        for key, counts in self.counts.items():
            minibatch[key] = counts.take(cells, index)
        return minibatch


class DeviceCounts:
    """Counts of one modality on a device, CSR.

    Parameters
    ----------
    counts
        The counts in memory, shape ``(n_cells, n_features)``.
    device
        Where they go.
    """

    def __init__(self, counts: sparse.csr_matrix, device: torch.device) -> None:
        x = without_repeats(counts)
        self.n_features = x.shape[1]
        # Kept here too, so that the size of a minibatch is known without asking the device.
        self.lengths = torch.from_numpy(np.diff(x.indptr).astype(np.int64))
        self.starts = torch.from_numpy(x.indptr.astype(np.int64)).to(device)
        self.features = torch.from_numpy(x.indices.astype(np.int32, copy=False)).to(device)
        self.values = torch.from_numpy(x.data.astype(np.float32, copy=False)).to(device)

    def take(self, rows: Tensor, index: Tensor) -> Tensor:
        """Return the counts of some cells.

        Parameters
        ----------
        rows, index
            Positions of the cells, here and on the device, int64, shape ``(n,)``.
        """
        n_values = int(self.lengths[rows].sum())
        parts = self.starts, self.features, self.values
        return kernels.gather_rows(parts, index, self.n_features, n_values)
