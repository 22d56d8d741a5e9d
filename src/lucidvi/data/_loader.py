"""Minibatches of CSR counts, for training and for what a model is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property
from itertools import chain, islice
from typing import Any

import torch
from scvi.data import AnnDataManager
from scvi.dataloaders import AnnDataLoader
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler

from lucidvi import kernels
from lucidvi._progress import track
from lucidvi._random import isolated
from lucidvi._ranks import ALONE, Ranks
from lucidvi.checks import check_whole
from lucidvi.data._order import BLOCK_SIZE, BlockShuffle
from lucidvi.data._shares import Shares
from lucidvi.data.stores import CellSource, CellStore, Minibatch, store_of
from lucidvi.errors import DataError, LostWorkerError

#: Minibatches that are prepared ahead where the counts do not fit on the device.
N_AHEAD = 2
#: Where an epoch is: the state of torch's generator at its beginning, and what of it is done.
Place = dict[str, Any]
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
    block_size, buffer_size
        Cells that are read together, and shuffled together, where cells that are not in memory
        come in random order; see :class:`~lucidvi.data.BlockShuffle`. The buffer is by default as
        large as 64 MB of counts.
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
        block_size: int = BLOCK_SIZE,
        buffer_size: int | None = None,
        ranks: Ranks = ALONE,
        **kwargs: Any,
    ) -> None:
        check_whole("block_size", block_size, least=1)
        if buffer_size is not None:
            check_whole("buffer_size", buffer_size, least=1)
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
        self.block_size, self.buffer_size = block_size, buffer_size
        self._store = store
        self._is_plain = self.num_workers == 0 and self.batch_size is None
        self._is_plain &= not any(kwargs.get(name) for name in OF_CONTENTS)
        #: State of torch's generator when the present epoch began, which gives its order.
        self._start = torch.get_rng_state()
        self._n_given = 0
        self._interrupted: Place | None = None

    @cached_property
    def store(self) -> CellStore:
        """Where the minibatches are taken from."""
        return store_of(CellSource(self.adata_manager)) if self._store is None else self._store

    @property
    def n_at_once(self) -> int | None:
        """Cells that are read together; None where cells can be had one by one."""
        return self.store.n_at_once and (self.buffer_size or self.store.n_at_once)

    @cached_property
    def order(self) -> Iterable[Any]:
        """Places of the cells of each minibatch among ``indices``.

        Cells of a file that are shuffled come block by block, unless all are read at once: then
        they come in the order in which cells in memory do.
        """
        is_shuffled = isinstance(getattr(self.sampler, "sampler", None), RandomSampler)
        if not is_shuffled or self.n_at_once is None or len(self.indices) <= self.n_at_once:
            return self.sampler
        size, drop_last = self.sampler.batch_size, self.sampler.drop_last
        return BlockShuffle(self.indices, size, drop_last, self.block_size, self.n_at_once)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield the minibatches of one epoch, or the rest of one that was interrupted."""
        place, self._interrupted = self._interrupted, None
        minibatches = self._epoch(place)
        if self.dense:
            minibatches = map(self._with_dense, minibatches)
        if self.description is None:
            return minibatches
        return track(minibatches, self.description, len(self), slow_steps=self.slow_steps)

    def state_dict(self) -> Place:
        """Return how far the present epoch has come, by the names that Lightning calls."""
        return {"generator": self._start, "n_done": self._n_given}

    def load_state_dict(self, place: Place) -> None:
        """Let the next epoch be the rest of one that was interrupted.

        Its order is drawn again, from the state that torch's generator had when it began, and the
        minibatches that are done are left out of it: a store reads none of them, but workers do.
        The generators are left as they are.

        Parameters
        ----------
        place
            What :meth:`state_dict` returned, with the number of minibatches that are done.
        """
        self._interrupted = place

    def _epoch(self, place: Place | None) -> Iterator[Minibatch]:
        """Yield minibatches; nothing is drawn before the first is asked for."""
        # Of an epoch that was over when its place was kept, the next one follows.
        n_done = 0 if place is None or place["n_done"] >= len(self) else place["n_done"]
        rest = self._taken(n_done) if self._is_plain else self._by_torch(n_done)
        with nullcontext() if place is None or not n_done else isolated(state=place["generator"]):
            self._start, self._n_given = torch.get_rng_state(), n_done
            first = list(islice(rest, 1))
        for minibatch in chain(first, rest):
            self._n_given += 1
            yield minibatch

    def _by_torch(self, n_done: int) -> Iterator[Minibatch]:
        minibatches = super().__iter__()
        given = map(self._with_csr, minibatches)
        if self.ranks.are_several:
            given = map(self._index_sampler.with_total, given)
        try:
            yield from islice(given, n_done, None)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # One that ends while it hands a minibatch over leaves a broken connection.
            is_said = "DataLoader worker" in str(error) or not isinstance(error, RuntimeError)
            if self.num_workers == 0 or not is_said:
                raise
            # While torch has them on its list, every child that ends would be taken for them.
            getattr(minibatches, "_shutdown_workers", lambda: None)()
            raise LostWorkerError(
                f"A process that loads data ended (`num_workers` is {self.num_workers}): {error}",
                remedy="mostly it had no memory left: give a smaller `num_workers`, or 0, with "
                'which this process reads, model.train(datasplitter_kwargs={"num_workers": 0})',
            ) from error

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

    def _taken(self, n_done: int) -> Iterator[Minibatch]:
        # A loader of torch draws a seed for its workers; so the order of the cells stays theirs.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        order: Iterable[Any] = islice(self.order, n_done, None)
        shares = Shares(order, self.ranks) if self.ranks.are_several else None
        places = iter(order if shares is None else shares)
        # The order is drawn here and now, whichever thread goes on with it.
        first = list(islice(places, 1))
        rows = (self.indices[cells] for cells in chain(first, places))
        n_at_once = self.n_at_once and max(1, self.n_at_once // self.ranks.number)
        minibatches = self.store.stream(rows, n_at_once, n_done)
        is_apart = self.store.device.type == "cpu"
        if is_apart and self.target is not None and self.target.type == "cuda":
            minibatches = self._prefetched(minibatches)
        yield from minibatches if shares is None else map(shares.with_total, minibatches)

    def _prefetched(self, minibatches: Iterator[Minibatch]) -> Iterator[Minibatch]:
        """Minibatches that a thread gathers, and pins for a copy that does not block."""
        with ThreadPoolExecutor(1) as thread:
            waiting = [thread.submit(_pinned, minibatches) for _ in range(N_AHEAD)]
            while (minibatch := waiting.pop(0).result()) is not None:
                waiting.append(thread.submit(_pinned, minibatches))
                yield {key: self._moved(values) for key, values in minibatch.items()}

    def _moved(self, values: Tensor) -> Tensor:
        return map_parts(values, lambda part: part.to(self.target, non_blocking=True))


def _pinned(minibatches: Iterator[Minibatch]) -> Minibatch | None:
    """Return the next minibatch in memory that a device copies from, None after the last."""
    minibatch = next(minibatches, None)
    if minibatch is None or not torch.cuda.is_available():
        return minibatch
    return {key: map_parts(values, Tensor.pin_memory) for key, values in minibatch.items()}


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

    def state_dict(self) -> Place:
        """Return how far the present epoch has come, in groups."""
        place = self.loader.state_dict()
        return {**place, "n_done": -(-place["n_done"] // self.size)}

    def load_state_dict(self, place: Place) -> None:
        """Let the next epoch be the rest of one; see :meth:`CellLoader.load_state_dict`."""
        self.loader.load_state_dict({**place, "n_done": place["n_done"] * self.size})

    def __len__(self) -> int:
        """Count the groups of an epoch."""
        return -(-len(self.loader) // self.size)

    def __iter__(self) -> Iterator[list[Minibatch]]:
        """Yield the groups of one epoch."""
        minibatches = iter(self.loader)
        while group := list(islice(minibatches, self.size)):
            yield group
