"""Loaders for training: scvi's, with minibatches of CSR counts and no overhead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import scvi
import torch
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.dataloaders import AnnDataLoader, DataSplitter
from torch import Tensor
from torch.utils.data import BatchSampler

from lucidvi._progress import track
from lucidvi.data._cells import Cells, DeviceCells, Minibatch, as_csr
from lucidvi.data._splits import check_sizes, splits
from lucidvi.errors import DataError
from lucidvi.kernels import csr

#: Share of a device's free memory that the counts may take.
DEVICE_SHARE = 0.5
#: Minibatches that are prepared ahead where the counts do not fit on the device.
N_AHEAD = 2


class WatchedLoader(AnnDataLoader):
    """Loader of scvi-tools that shows how far it is, where that takes long.

    All methods of a model but ``train`` read their cells with it.
    """

    #: What the bar says, and whether what is done with a minibatch may take seconds.
    description, slow_steps = "Going through the cells", False

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield the minibatches."""
        minibatches = super().__iter__()
        return track(minibatches, self.description, len(self), slow_steps=self.slow_steps)


class CellLoader(AnnDataLoader):
    """Loader of scvi-tools whose minibatches hold the counts as CSR.

    The cells, their order for a seed, and the registry keys are the same.

    Parameters
    ----------
    adata_manager, *args, **kwargs
        See :class:`scvi.dataloaders.AnnDataLoader`.
    cells
        Where the minibatches are taken from.
    device
        Where they are wanted.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *args: Any,
        cells: Cells | DeviceCells,
        device: torch.device | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(adata_manager, *args, **kwargs)
        self.cells = cells
        self.target = device

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield the minibatches of one epoch."""
        if self.num_workers > 0 or self.batch_size is not None:
            for minibatch in super().__iter__():
                x = minibatch[REGISTRY_KEYS.X_KEY]
                # A sampler of the user's own leaves an axis before the cells.
                yield minibatch | {REGISTRY_KEYS.X_KEY: as_csr(x) if x.ndim == 2 else x}
            return
        # A loader of torch draws a seed for its workers; so the order of the cells stays theirs.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        ahead = self.target is not None and self.target.type == "cuda"
        if ahead and isinstance(self.cells, Cells):
            yield from self._prefetched(iter(self.sampler))
        else:
            for rows in self.sampler:
                yield self.cells.take(self.indices[rows])

    def _prefetched(self, batches: Iterator[Any]) -> Iterator[Minibatch]:
        """Minibatches that a thread gathers, and pins for a copy that does not block."""
        with ThreadPoolExecutor(1) as thread:
            waiting = [thread.submit(self._pinned, rows) for rows in islice(batches, N_AHEAD)]
            while waiting:
                minibatch = waiting.pop(0).result()
                waiting += [thread.submit(self._pinned, rows) for rows in islice(batches, 1)]
                yield {key: self._moved(values) for key, values in minibatch.items()}

    def _pinned(self, rows: Any) -> Minibatch:
        minibatch = self.cells.take(self.indices[rows])
        if not torch.cuda.is_available():
            return minibatch
        return {key: map_parts(values, Tensor.pin_memory) for key, values in minibatch.items()}

    def _moved(self, values: Tensor) -> Tensor:
        return map_parts(values, lambda part: part.to(self.target, non_blocking=True))


def map_parts(values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to a dense tensor, or to each of the three arrays of a CSR tensor."""
    if values.layout != torch.sparse_csr:
        return function(values)
    starts, genes, counts = values.crow_indices(), values.col_indices(), values.values()
    return csr(function(starts), function(genes), function(counts), values.shape[1])


class Groups:
    """Several minibatches at a time, each group a list.

    Parameters
    ----------
    loader
        What gives the minibatches.
    size
        Minibatches a group; the last one of an epoch may have fewer.
    """

    def __init__(self, loader: CellLoader, size: int) -> None:
        self.loader = loader
        self.size = size

    @property
    def sampler(self) -> BatchSampler:
        """What a distributed training tells the epoch."""
        return self.loader.sampler

    @property
    def n_minibatches(self) -> int:
        """Minibatches an epoch."""
        return len(self.loader)

    def __len__(self) -> int:
        """Count the groups of an epoch."""
        return -(-len(self.loader) // self.size)

    def __iter__(self) -> Iterator[list[Minibatch]]:
        """Yield the groups of one epoch."""
        minibatches = iter(self.loader)
        while group := list(islice(minibatches, self.size)):
            yield group


class CellSplitter(DataSplitter):
    """Data splitter of scvi-tools that loads with :class:`CellLoader`.

    Differs from scvi-tools: all cells are trained on where there are so few that it would leave
    none, and sizes that cannot be are refused.

    Parameters
    ----------
    adata_manager, train_size, validation_size, *args, **kwargs
        See :class:`scvi.dataloaders.DataSplitter`.
    external_indexing
        Training, validation and test cells, each positions, a mask or names; the first of the
        last two that is left out or empty gets all other cells.

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
    n_train: int

    def __init__(
        self,
        adata_manager: AnnDataManager,
        train_size: float | None = None,
        validation_size: float | None = None,
        *args: Any,
        external_indexing: Any = None,
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
        if "cells" in self.data_loader_kwargs:
            return
        cells = Cells(self.adata_manager)
        place = DeviceCells(cells, self.device) if _fits(cells, self.device) else cells
        self.data_loader_kwargs |= {"cells": place, "device": self.device}

    def some_training_cells(self, n_cells: int, chunk: int = 4096) -> Iterator[Minibatch]:
        """Yield the first ``n_cells`` training cells in chunks; no random numbers are drawn."""
        rows = self.train_idx[:n_cells]
        for start in range(0, len(rows), chunk):
            yield self.data_loader_kwargs["cells"].take(rows[start : start + chunk])

    def spread_training_cells(self, n_cells: int) -> Minibatch:
        """Return training cells evenly spaced in their order, which by default is random.

        No random numbers are drawn, so that all processes of a training take the same ones.
        """
        places = np.linspace(0, len(self.train_idx) - 1, n_cells).round().astype(int)
        return self.data_loader_kwargs["cells"].take(np.asarray(self.train_idx)[places])

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
                minibatch[REGISTRY_KEYS.X_KEY] = minibatch[REGISTRY_KEYS.X_KEY].to_dense()
        return super().transfer_batch_to_device(batch, device, index)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Keep the counts sparse."""
        return batch


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


def _fits(cells: Cells, device: torch.device) -> bool:
    """Whether the counts should lie on the device."""
    if device.type != "cuda" or cells.counts is None:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return DeviceCells.size(cells) < DEVICE_SHARE * free
