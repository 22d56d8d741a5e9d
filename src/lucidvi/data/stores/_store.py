"""What every store of cells is, and what all of them are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from lucidvi.data.modalities._fields import panel_key
from lucidvi.data.modalities._registered import JoinedModality, registered_modalities
from lucidvi.data.stores._annotations import Annotations, Minibatch

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
    def modalities(self) -> dict[str, JoinedModality]:
        """What was registered of several modalities, by the key of their counts."""
        return registered_modalities(self.adata_manager)

    @property
    def keys(self) -> list[str]:
        """Registry keys of the counts, the main modality's first."""
        return list(dict.fromkeys([REGISTRY_KEYS.X_KEY, *self.modalities]))

    @cached_property
    def matrices(self) -> dict[str, Any]:
        """Registered counts by key: arrays, ``csr_matrix``, or :class:`StoredCounts`."""
        return {key: self.adata_manager.get_from_registry(key) for key in self.keys}

    @property
    def is_in_memory(self) -> bool:
        """Whether the counts are in memory, in whatever form."""
        return all(
            not isinstance(matrix, StoredCounts) or matrix.is_in_memory
            for matrix in self.matrices.values()
        )

    @property
    def is_csr(self) -> bool:
        """Whether the counts are CSR in memory, of a type that needs no conversion."""
        return all(map(sparse.issparse, self.matrices.values()))

    @cached_property
    def counts(self) -> dict[str, sparse.csr_matrix]:
        """All counts as CSR in memory, by key; not copies if that is what they are already."""
        return {
            key: sparse.csr_matrix(in_memory(matrix), copy=False)
            for key, matrix in self.matrices.items()
        }

    @cached_property
    def annotations(self) -> Annotations:
        """All registered data but the counts."""
        dtypes = AnnTorchDataset(self.adata_manager).keys_and_dtypes
        others = {*self.keys, *map(panel_key, self.modalities)}
        values = {
            key: self.adata_manager.get_from_registry(key) for key in dtypes if key not in others
        }
        # How an AnnData was minified is registered as text.
        covariates = {
            k: as_tensor(v, dtypes[k]) for k, v in values.items() if not isinstance(v, str)
        }
        panels = {key: modality.panels for key, modality in self.modalities.items()}
        return Annotations.of(covariates, panels)


class CellStore(Protocol):
    """Cells, from which minibatches are taken.

    The cells in a minibatch are those that were asked for, in this order, with their counts under
    ``"X"``, and those of further modalities under their names, as CSR tensors (int32, float32),
    and their covariates under the other registry keys. What was not measured is said by
    ``lucidvi.data.stores.Annotations``. A minibatch is a copy: what is done to it changes
    neither the store nor the AnnData.

    Parameters
    ----------
    source
        Cells that the store :meth:`fits`.
    """

    #: Number of cells.
    n_cells: int
    #: Device where the minibatches lie.
    device: torch.device = CPU
    #: Cells that are best read together, where reading each alone would take long; else None.
    n_at_once: int | None = None

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

    def stream(
        self, minibatches: Iterable[Rows], n_at_once: int | None = None, n_done: int = 0
    ) -> Iterator[Minibatch]:
        """Yield minibatches one after the other; a store may read what comes next ahead of time.

        Parameters
        ----------
        minibatches
            Positions of the cells of each.
        n_at_once
            Cells that are read together where they have to be read; by default :attr:`n_at_once`.
        n_done
            Minibatches of the same order that came before, if it goes on in its midst.
        """
        yield from map(self.take, minibatches)


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
