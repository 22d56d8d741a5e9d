"""What every store of cells is, and what all of them are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnTorchDataset
from torch import Tensor

from lucidvi.data.matrices._stored import StoredCounts, in_memory

#: Tensors of some cells by registry key, each with one row a cell.
Minibatch = dict[str, Tensor]
#: Positions of cells: in any order, repeated, or negative, which count from the end.
Rows = Sequence[int] | NDArray[np.integer]
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class CellSource:
    """Registered cells that a store is made from.

    Parameters
    ----------
    adata_manager
        Manager of the registered AnnData.
    is_read_often
        Whether the cells are read many times, as in training, so that it is worth while to
        convert all of them first; a query reads some of them once.
    device
        Device where the minibatches are wanted.
    """

    adata_manager: AnnDataManager
    is_read_often: bool = False
    device: torch.device = CPU

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.adata_manager.adata.n_obs

    @cached_property
    def matrix(self) -> Any:
        """Registered counts: an array, a ``csr_matrix``, or :class:`StoredCounts`."""
        return self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)

    @property
    def is_in_memory(self) -> bool:
        """Whether the counts are in memory, in whatever form."""
        return not isinstance(self.matrix, StoredCounts) or self.matrix.is_in_memory

    @property
    def is_csr(self) -> bool:
        """Whether the counts are CSR in memory, of a type that needs no conversion."""
        return sparse.issparse(self.matrix)

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """All counts as CSR in memory; not a copy if that is what they are already."""
        return sparse.csr_matrix(in_memory(self.matrix), copy=False)

    @cached_property
    def covariates(self) -> Minibatch:
        """All registered data but the counts, each of shape ``(n_cells, ...)``."""
        dtypes = AnnTorchDataset(self.adata_manager).keys_and_dtypes
        values = {
            key: self.adata_manager.get_from_registry(key)
            for key in dtypes
            if key != REGISTRY_KEYS.X_KEY
        }
        # How an AnnData was minified is registered as text.
        return {k: as_tensor(v, dtypes[k]) for k, v in values.items() if not isinstance(v, str)}


class CellStore(Protocol):
    """Cells, from which minibatches are taken.

    The cells in a minibatch are those that were asked for, in this order, with their counts under
    ``"X"`` as a CSR tensor (int32, float32) and their covariates under the other registry keys. A
    minibatch is a copy: what is done to it changes neither the store nor the AnnData.

    Parameters
    ----------
    source
        Cells that the store :meth:`fits`.
    """

    #: Number of cells.
    n_cells: int
    #: Device where the minibatches lie.
    device: torch.device = CPU

    def __init__(self, source: CellSource) -> None: ...

    @classmethod
    def fits(cls, source: CellSource) -> bool:
        """Return whether these cells can and should be read by such a store."""

    def take(self, rows: Rows) -> Minibatch:
        """Return some cells.

        Parameters
        ----------
        rows
            Positions of the cells, shape ``(n,)``.

        Raises
        ------
        IndexError
            If there is no such cell.
        """


def positions(rows: Rows) -> NDArray[np.int64]:
    """Return positions in the type in which compiled code and torch read them."""
    return np.ascontiguousarray(rows, dtype=np.int64)


def as_tensor(values: Any, dtype: Any) -> Tensor:
    """Return values as a tensor of rows side by side, which may share their memory."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if sparse.issparse(values):
        values = values.toarray()
    values = np.ascontiguousarray(values, dtype=dtype)
    return torch.from_numpy(values if values.flags.writeable else values.copy())
