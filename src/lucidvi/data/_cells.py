"""Cells in memory, and minibatches of them: counts as CSR, gathered in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from torch import Tensor

from lucidvi.data._dataset import OrderedAnnTorchDataset
from lucidvi.data.matrices._repeats import has_repeats
from lucidvi.data.matrices._stored import StoredCounts, in_memory
from lucidvi.kernels import csr

Minibatch = dict[str, Tensor]


class Cells:
    """All registered data of an AnnData, from which minibatches are taken.

    Counts in memory are held as CSR, which is what they are already, or what dense or CSC ones
    are converted to once. Those in a file or a dask array are read when they are asked for.

    Parameters
    ----------
    adata_manager
        Of the registered AnnData.
    """

    def __init__(self, adata_manager: AnnDataManager) -> None:
        self.adata_manager = adata_manager
        keys = [key for key in adata_manager.data_registry if key != REGISTRY_KEYS.X_KEY]
        everything = np.arange(adata_manager.adata.n_obs)
        columns = OrderedAnnTorchDataset(adata_manager, getitem_tensors=keys)[everything]
        self.columns = {key: torch.as_tensor(values) for key, values in columns.items()}
        self.counts: sparse.csr_matrix | None = None
        x = adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        self.stored = x if isinstance(x, StoredCounts) and not x.is_in_memory else None
        if self.stored is None:
            self.counts = sparse.csr_matrix(in_memory(x), copy=False)
            if has_repeats(self.counts.indptr, self.counts.indices, self.counts.shape[1]):
                self.counts = self.counts.copy()
                self.counts.sum_duplicates()

    def take(self, rows: Sequence[int] | np.ndarray) -> Minibatch:
        """Return the cells ``rows`` by registry key, the counts as CSR (int32, float32)."""
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        index = torch.from_numpy(rows)
        minibatch = {key: values[index] for key, values in self.columns.items()}
        x = self.counts
        if x is None:
            assert self.stored is not None
            x = sparse.csr_matrix(self.stored[rows])
            x.sum_duplicates()
            self.adata_manager.check_values(rows, x)
            rows = np.arange(len(rows))
        starts, genes, counts = map(torch.from_numpy, gather(x.indptr, x.indices, x.data, rows))
        minibatch[REGISTRY_KEYS.X_KEY] = csr(starts, genes, counts, x.shape[1])
        return minibatch


class DeviceCells:
    """:class:`Cells` that lie on a device, and minibatches gathered there.

    Parameters
    ----------
    cells
        Cells in memory.
    device
        Where they go.
    """

    def __init__(self, cells: Cells, device: torch.device) -> None:
        if cells.counts is None:
            raise ValueError("Only cells in memory can be moved to a device.")
        x = cells.counts
        self.device = device
        self.n_genes = x.shape[1]
        self.columns = {key: values.to(device) for key, values in cells.columns.items()}
        # Kept here too, so that the size of a minibatch is known without asking the device.
        self.lengths = torch.from_numpy(np.diff(x.indptr).astype(np.int64))
        self.starts = torch.from_numpy(x.indptr[:-1].astype(np.int64)).to(device)
        self.genes = torch.from_numpy(x.indices.astype(np.int32, copy=False)).to(device)
        self.counts = torch.from_numpy(x.data.astype(np.float32, copy=False)).to(device)

    @staticmethod
    def size(cells: Cells) -> int:
        """Bytes that the counts of ``cells`` take on a device."""
        return 0 if cells.counts is None else 8 * cells.counts.nnz + 8 * cells.counts.shape[0]

    def take(self, rows: Sequence[int] | np.ndarray) -> Minibatch:
        """Return the cells ``rows`` by registry key, the counts as CSR (int32, float32)."""
        index = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
        lengths = self.lengths[index]
        n_values = int(lengths.sum())
        index, lengths = index.to(self.device), lengths.to(self.device)
        ends = lengths.cumsum(0)
        shift = (self.starts[index] - ends + lengths).repeat_interleave(
            lengths, output_size=n_values
        )
        places = torch.arange(n_values, device=self.device) + shift
        starts = torch.nn.functional.pad(ends, (1, 0)).int()
        minibatch = {key: values[index] for key, values in self.columns.items()}
        minibatch[REGISTRY_KEYS.X_KEY] = csr(
            starts, self.genes[places], self.counts[places], self.n_genes
        )
        return minibatch


def as_csr(matrix: Tensor | np.ndarray) -> Tensor:
    """Return a matrix as a CSR tensor (int32, float32)."""
    x = torch.as_tensor(matrix)
    if x.layout != torch.sparse_csr:
        x = (x if x.layout == torch.strided else x.to_dense()).to_sparse_csr()
    return csr(x.crow_indices().int(), x.col_indices().int(), x.values().float(), x.shape[1])


@njit(cache=True)
def gather(starts, genes, counts, rows):  # type: ignore[no-untyped-def]
    """Rows of a CSR matrix, as the three arrays of another (int32, int32, float32)."""
    new_starts = np.zeros(rows.shape[0] + 1, np.int32)
    n_rows = starts.shape[0] - 1
    for i in range(rows.shape[0]):
        row = rows[i] % n_rows  # a negative one counts from the end
        new_starts[i + 1] = new_starts[i] + (starts[row + 1] - starts[row])
    n_values = new_starts[rows.shape[0]]
    new_genes = np.empty(n_values, np.int32)
    new_counts = np.empty(n_values, np.float32)
    for i in range(rows.shape[0]):
        row = rows[i] % n_rows
        new_genes[new_starts[i] : new_starts[i + 1]] = genes[starts[row] : starts[row + 1]]
        new_counts[new_starts[i] : new_starts[i + 1]] = counts[starts[row] : starts[row + 1]]
    return new_starts, new_genes, new_counts
