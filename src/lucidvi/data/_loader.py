"""Minibatches of CSR counts, for training and for what a model is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from scvi.data import AnnDataManager
from scvi.dataloaders import AnnDataLoader
from torch import Tensor
from torch.utils.data import BatchSampler

from lucidvi import kernels
from lucidvi._progress import track
from lucidvi._ranks import ALONE, Ranks
from lucidvi.data._shares import Shares
from lucidvi.data.stores import CellSource, CellStore, Minibatch, store_of
from lucidvi.errors import DataError

#: Minibatches that are prepared ahead where the counts do not fit on the device.
N_AHEAD = 2
#: Arguments that say what a minibatch consists of, of which scvi-tools' loader takes care.
OF_CONTENTS = ("data_and_attributes", "iter_ndarray", "collate_fn")


class CellLoader(AnnDataLoader):
    """Loader of scvi-tools whose minibatches hold the counts as CSR.

    The cells, their order for a seed, and the registry keys are the same.

    Parameters
    ----------
    adata_manager, *args, **kwargs
        See :class:`scvi.dataloaders.AnnDataLoader`.
    store
        Where the minibatches are taken from; by default made for reading the cells once.
    device
        Where the minibatches are wanted, if they are to be prepared ahead.
    description
        What a progress bar says; None for no bar.
    dense
        Give the counts dense, for code that needs them so.
    ranks
        The processes that share each minibatch; by default this one has all of it.

    Raises
    ------
    lucidvi.errors.DataError
        If several processes are to share the minibatches of a sampler that gives single cells.
    """

    #: Whether what is done with a minibatch may take seconds.
    slow_steps = False

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *args: Any,
        store: CellStore | None = None,
        device: torch.device | None = None,
        description: str | None = "Going through the cells",
        dense: bool = False,
        ranks: Ranks = ALONE,
        **kwargs: Any,
    ) -> None:
        super().__init__(adata_manager, *args, **kwargs)
        self.ranks = ranks
        if ranks.are_several and self.batch_size is not None:
            raise DataError(
                "A `sampler` of one's own is read cell by cell, and the processes of a training "
                "share minibatches.",
                remedy="leave `sampler` out of `datasplitter_kwargs`, or train on one device, "
                "model.train(devices=1)",
            )
        self.adata_manager = adata_manager
        self.target = device
        self.description = description
        self.dense = dense
        self._store = store
        self._is_plain = self.num_workers == 0 and self.batch_size is None
        self._is_plain &= not any(kwargs.get(name) for name in OF_CONTENTS)

    @cached_property
    def store(self) -> CellStore:
        """Where the minibatches are taken from."""
        return store_of(CellSource(self.adata_manager)) if self._store is None else self._store

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield the minibatches of one epoch."""
        minibatches = self._taken() if self._is_plain else map(self._with_csr, super().__iter__())
        if self.ranks.are_several:
            minibatches = map(self._index_sampler.with_total, minibatches)
        if self.dense:
            minibatches = map(self._with_dense, minibatches)
        if self.description is None:
            return minibatches
        return track(minibatches, self.description, len(self), slow_steps=self.slow_steps)

    @cached_property
    def _index_sampler(self) -> Any:
        """Rows of the minibatches, as the iterators of torch ask for them, too."""
        whole = super()._index_sampler
        return Shares(whole, self.ranks) if self.ranks.are_several else whole

    @cached_property
    def count_keys(self) -> list[str]:
        """Registry keys of the counts."""
        return CellSource(self.adata_manager).keys

    def _with_csr(self, minibatch: Any) -> Any:
        """Make the counts of a minibatch of scvi-tools' loader CSR, if they are a matrix."""
        return self._with_counts(minibatch, kernels.as_csr)

    def _with_dense(self, minibatch: Any) -> Any:
        return self._with_counts(minibatch, kernels.to_dense)

    def _with_counts(self, minibatch: Any, form: Callable[[Tensor], Tensor]) -> Any:
        if not isinstance(minibatch, dict):
            return minibatch
        counts = {key: minibatch.get(key) for key in self.count_keys}
        # A sampler of the user's own leaves an axis before the cells.
        return minibatch | {
            key: form(x) for key, x in counts.items() if isinstance(x, Tensor) and x.ndim == 2
        }

    def _taken(self) -> Iterator[Minibatch]:
        # A loader of torch draws a seed for its workers; so the order of the cells stays theirs.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        is_apart = self.store.device.type == "cpu"
        if is_apart and self.target is not None and self.target.type == "cuda":
            yield from self._prefetched(iter(self._index_sampler))
        else:
            for rows in self._index_sampler:
                yield self.store.take(self.indices[rows])

    def _prefetched(self, batches: Iterator[Any]) -> Iterator[Minibatch]:
        """Minibatches that a thread gathers, and pins for a copy that does not block."""
        with ThreadPoolExecutor(1) as thread:
            waiting = [thread.submit(self._pinned, rows) for rows in islice(batches, N_AHEAD)]
            while waiting:
                minibatch = waiting.pop(0).result()
                waiting += [thread.submit(self._pinned, rows) for rows in islice(batches, 1)]
                yield {key: self._moved(values) for key, values in minibatch.items()}

    def _pinned(self, rows: Any) -> Minibatch:
        minibatch = self.store.take(self.indices[rows])
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
    return kernels.csr(function(starts), function(genes), function(counts), values.shape[1])


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
