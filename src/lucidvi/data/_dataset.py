"""Rows of an AnnData as scvi-tools reads them, in the order that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnTorchDataset

from lucidvi.data._snapshot import is_in_memory


class OrderedAnnTorchDataset(AnnTorchDataset):
    """Dataset of scvi-tools whose rows come back in the order asked for, backed or not.

    Files are read in increasing order of rows. scvi-tools sorts the indices for that and leaves
    the rows sorted; here they are put back, and rows asked for twice come twice.
    """

    def __getitem__(self, indexes: int | Sequence[int] | np.ndarray | slice) -> dict[str, Any]:
        """Return the rows of each registered array, by registry key.

        Counts that come from a file are compared with those that were checked.
        """
        values = self._read(indexes)
        x = values.get(REGISTRY_KEYS.X_KEY)
        manager = self.adata_manager
        if x is not None and not is_in_memory(self.data[REGISTRY_KEYS.X_KEY]):
            rows = np.atleast_1d(np.arange(len(self))[indexes])
            manager.check_values(rows, x if isinstance(x, np.ndarray) else _as_scipy(x))
        return values

    def _read(self, indexes: int | Sequence[int] | np.ndarray | slice) -> dict[str, Any]:
        if isinstance(indexes, int | np.integer | slice) or not self.adata_manager.adata.isbacked:
            return super().__getitem__(indexes)
        rows, back = np.unique(np.asarray(indexes), return_inverse=True)
        if len(rows) == len(back) and (np.diff(back) > 0).all():
            return super().__getitem__(rows)
        return {key: _reorder(values, back) for key, values in super().__getitem__(rows).items()}


def _as_scipy(x: Any) -> sparse.csr_matrix:
    """Return a sparse tensor, CSR or CSC, as a matrix of scipy."""
    x = x if x.layout == torch.sparse_csr else x.to_sparse_csr()
    parts = (x.values(), x.col_indices(), x.crow_indices())
    return sparse.csr_matrix(tuple(part.numpy() for part in parts), shape=tuple(x.shape))


def _reorder(values: Any, order: np.ndarray) -> Any:
    """Take rows of an array, or of a sparse tensor, which has no row indexing of its own."""
    if isinstance(values, np.ndarray):
        return values[order]
    dense = values.to_dense()[order]
    return dense.to_sparse_csr()
