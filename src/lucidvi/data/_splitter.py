"""How cells are split for training, and laid out for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scvi
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.dataloaders import DataSplitter

from lucidvi._ranks import ALONE, ranks_of
from lucidvi.data._loader import CellLoader, Groups
from lucidvi.data._splits import check_sizes, splits
from lucidvi.data.stores import CellSource, CellStore, Minibatch, store_of
from lucidvi.errors import DataError
from lucidvi.kernels import is_csr, to_dense

#: Cells beside each other that are read together where a few of all are looked at.
RUN = 64


class CellSplitter(DataSplitter):
    """Data splitter of scvi-tools that loads with :class:`CellLoader`.

    Differs from scvi-tools: all cells are trained on where there are so few that it would leave
    none, sizes that cannot be are refused, and the processes of a training share each minibatch,
    so that ``batch_size`` is that of all of them together.

    Parameters
    ----------
    adata_manager, train_size, validation_size, *args, **kwargs
        See :class:`scvi.dataloaders.DataSplitter`.
    external_indexing
        Training, validation and test cells, each positions, a mask or names; the first of the
        last two that is left out or empty gets all other cells.
    distributed_sampler
        Accepted as scvi-tools gives it: the processes of a training share minibatches always.

    Raises
    ------
    lucidvi.errors.DataError
        If no cell or minibatch is left to train on, or sets of cells cannot be.
    """

    data_loader_cls = CellLoader
    #: Minibatches that one step of Lightning gets; set by the runner.
    group_size = 1
    #: Where the minibatches are wanted; set by the runner.
    device = torch.device("cpu")
    #: The processes that share each minibatch; known after :meth:`setup`.
    ranks = ALONE
    n_train: int
    val_idx: NDArray[np.integer]
    test_idx: NDArray[np.integer]
    _store: CellStore | None = None

    def __init__(
        self,
        adata_manager: AnnDataManager,
        train_size: float | None = None,
        validation_size: float | None = None,
        *args: Any,
        external_indexing: Any = None,
        distributed_sampler: bool = False,
        **kwargs: Any,
    ) -> None:
        check_sizes(train_size, validation_size)
        if external_indexing is not None:
            external_indexing = splits(external_indexing, adata_manager.adata.obs_names)
        super().__init__(
            adata_manager,
            train_size,
            validation_size,
            *args,
            external_indexing=external_indexing,
            **kwargs,
        )
        if self.n_train == 0 and self.external_indexing is None:
            # scvi-tools leaves out a last minibatch of one or two cells, here all there are.
            self.n_train = adata_manager.adata.n_obs - self.n_val
        n_train = (
            self.n_train if self.external_indexing is None else len(self.external_indexing[0])
        )
        batch_size = self.data_loader_kwargs.get("batch_size") or scvi.settings.batch_size
        check_training_cells(n_train, batch_size, self.drop_last)

    def setup(self, stage: str | None = None) -> None:
        """Split the cells, and lay them out for loading."""
        super().setup(stage)
        self.ranks = ranks_of(self.trainer)
        # Where no seed was set, each process splits the cells in a way of its own.
        for name in ("train_idx", "val_idx", "test_idx"):
            setattr(self, name, self.ranks.from_first(getattr(self, name)))
        if self.ranks.are_several:
            self.device = self.ranks.device
        if self._store is None:
            source = CellSource(self.adata_manager, is_read_often=True, device=self.device)
            self._store = store_of(source)
            self.data_loader_kwargs |= {
                "store": self._store,
                "device": self.device,
                "description": None,
                "ranks": self.ranks,
            }
            if self.is_read_in_parts:  # from the first cell to the last
                self.val_idx, self.test_idx = map(np.sort, (self.val_idx, self.test_idx))

    @property
    def store(self) -> CellStore:
        """Where all cells are, after :meth:`setup`."""
        assert self._store is not None
        return self._store

    @property
    def is_read_in_parts(self) -> bool:
        """Whether the cells are in a file, and too many to be read at once."""
        n_at_once = self.store.n_at_once
        if n_at_once is None:
            return False
        return self.store.n_cells > (self.data_loader_kwargs.get("buffer_size") or n_at_once)

    def some_training_cells(self, n_cells: int, chunk: int = 4096) -> Iterator[Minibatch]:
        """Yield some of the training cells in chunks; no random numbers are drawn.

        Of cells in memory these are the first in their order, which by default is random.
        """
        rows = self.train_idx[:n_cells]
        if self.is_read_in_parts:
            rows = in_runs(np.sort(self.train_idx), n_cells)
        for start in range(0, len(rows), chunk):
            yield self.store.take(rows[start : start + chunk])

    def spread_training_cells(self, n_cells: int) -> Minibatch:
        """Return training cells evenly spaced in their order, which by default is random.

        No random numbers are drawn, so that all processes of a training take the same ones. Of
        cells that are not in memory runs are evenly spaced.
        """
        if self.is_read_in_parts:
            return self.store.take(in_runs(np.sort(self.train_idx), n_cells))
        places = np.linspace(0, len(self.train_idx) - 1, n_cells).round().astype(int)
        return self.store.take(np.asarray(self.train_idx)[places])

    def train_dataloader(self) -> CellLoader | Groups:
        """Loader of the training cells."""
        loader = super().train_dataloader()
        return loader if self.group_size == 1 else Groups(loader, self.group_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        """Move what is not there yet; Lightning would look through every minibatch."""
        minibatches = batch if isinstance(batch, list) else [batch]
        if minibatches[0][REGISTRY_KEYS.X_KEY].device == device:
            return batch
        if device.type == "mps":  # which has no sparse tensors
            for minibatch in minibatches:
                minibatch |= {key: to_dense(x) for key, x in minibatch.items() if is_csr(x)}
        return super().transfer_batch_to_device(batch, device, index)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Keep the counts sparse."""
        return batch


def in_runs(rows: NDArray[np.integer], n_cells: int) -> NDArray[np.integer]:
    """Return some rows in runs, evenly spaced, of those that are beside each other.

    Parameters
    ----------
    rows
        Positions in ascending order.
    n_cells
        Number of rows to return, or all where there are no more.
    """
    n_runs = -(-n_cells // RUN)
    if n_runs * RUN >= len(rows):
        return rows[:n_cells]
    starts = np.linspace(0, len(rows) - RUN, n_runs).astype(np.int64)
    return rows[(starts[:, None] + np.arange(RUN)).ravel()[:n_cells]]


def check_training_cells(n_train: int, batch_size: int, drop_last: bool | int) -> None:
    """Raise DataError if there is no cell, or no minibatch of cells, to train on."""
    if batch_size < 1:
        raise DataError(
            f"`batch_size` is {batch_size}.", remedy="give at least one cell a minibatch."
        )
    if n_train == 0:
        raise DataError(
            "No cell is left to train on.",
            remedy="give a larger `train_size`, or name training cells in `external_indexing`.",
        )
    if drop_last is True and n_train < batch_size:
        raise DataError(
            f"drop_last=True leaves nothing to train on: the {n_train:,} training cells are fewer "
            f"than one minibatch of {batch_size:,}.",
            remedy=f"drop_last=False, or batch_size={n_train}.",
        )
