"""The loader gives what scvi's own gives, cell by cell; the splitter splits as scvi's does."""

import multiprocessing
import os
import signal
import threading
import warnings

import numpy as np
import pytest
import scvi
import torch
from anndata import AnnData, read_h5ad
from scvi.dataloaders import AnnDataLoader, DataSplitter
from torch.utils.data import BatchSampler, SequentialSampler

from lucidvi.data import CellSource, CellSplitter, DeviceStore, store_of
from lucidvi.data._loader import N_AHEAD, CellLoader, Groups, map_parts
from lucidvi.errors import DataError, LostWorkerError
from lucidvi.kernels import csr
from lucidvi.model import SCVI

N_CELLS = 30


@pytest.fixture
def adata():
    """The number of the row in the counts and in a covariate."""
    x = np.random.default_rng(0).poisson(1.0, (N_CELLS, 5)).astype(np.float32)
    x[:, 0] = np.arange(N_CELLS) + 1
    adata = AnnData(x)
    adata.obs["row"] = np.arange(float(N_CELLS))
    adata.obs["batch"] = np.where(np.arange(N_CELLS) % 3 == 0, "a", "b")
    return adata


@pytest.fixture
def manager(adata):
    SCVI.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["row"])
    return SCVI(adata).adata_manager


def laid_out(manager):
    """The cells as they are laid out for training."""
    return store_of(CellSource(manager, is_read_often=True))


def rows_of(minibatch):
    return (minibatch["X"].to_dense()[:, 0] - 1).int().tolist()


def assert_same(got, want):
    """The same minibatches in the same order, the counts as CSR."""
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert set(one) == set(other)
        assert one["X"].layout == torch.sparse_csr
        for key in other:
            assert one[key].dtype == other[key].dtype, key
            assert torch.equal(one[key].to_dense(), other[key]), key


def epochs(loader, n=2, seed=5):
    """Minibatches of some epochs, and the state of the generator after them."""
    torch.manual_seed(seed)
    minibatches = [minibatch for _ in range(n) for minibatch in loader]
    return minibatches, torch.get_rng_state()


OPTIONS = {
    "in order": {},
    "shuffled": {"shuffle": True},
    "without the last": {"shuffle": True, "drop_last": True},
    "in order, without the last": {"drop_last": True},
    "one minibatch": {"batch_size": 100},
    "one cell each": {"batch_size": 1, "shuffle": True},
    "a few cells": {"indices": [9, 1, 4, 9], "shuffle": True, "batch_size": 3},
    "a mask": {"indices": np.arange(N_CELLS) % 3 == 1},
    "from the end": {"indices": [-1, 3]},
    "sparse": {"load_sparse_tensor": True, "shuffle": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("place", ["query", "host", "device"])
def test_same_cells_in_the_same_order(manager, options, place):
    """For a seed, epoch after epoch, and what is drawn after the epochs is the same, too."""
    kwargs = {"batch_size": 7} | OPTIONS[options]
    store = None if place == "query" else laid_out(manager)
    if place == "device":
        store = DeviceStore(CellSource(manager))
    loader, theirs = CellLoader(manager, store=store, **kwargs), AnnDataLoader(manager, **kwargs)
    assert len(loader) == len(theirs)
    (got, state), (want, other) = epochs(loader), epochs(theirs)
    assert_same(got, want)
    assert torch.equal(state, other)


def test_own_generator(manager):
    kwargs = {"batch_size": 7, "shuffle": True}
    loaders = [
        CellLoader(manager, store=laid_out(manager), generator=torch.Generator(), **kwargs),
        AnnDataLoader(manager, generator=torch.Generator(), **kwargs),
    ]
    (got, state), (want, other) = map(epochs, loaders)
    assert_same(got, want)
    assert torch.equal(state, other)


def test_from_a_file(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    SCVI.setup_anndata(backed, batch_key="batch", continuous_covariate_keys=["row"])
    manager = SCVI(backed).adata_manager
    kwargs = {"batch_size": 7, "shuffle": True}
    got, _ = epochs(CellLoader(manager, store=laid_out(manager), **kwargs))
    # scvi's loader has the rows of a file in order by our data set (test_dataset.py).
    assert_same(got, epochs(AnnDataLoader(manager, **kwargs))[0])


def test_workers(manager):
    kwargs = {"batch_size": 7, "shuffle": True, "num_workers": 1, "persistent_workers": False}
    got, state = epochs(CellLoader(manager, store=laid_out(manager), **kwargs), n=1)
    want, other = epochs(AnnDataLoader(manager, **kwargs | {"num_workers": 0}), n=1)
    assert_same(got, want)
    assert torch.equal(state, other)


def test_own_sampler(manager):
    """Each item that the sampler draws is a list of cells, so torch adds an axis of length one."""
    sampler = BatchSampler(SequentialSampler(range(N_CELLS)), batch_size=7, drop_last=False)
    got = list(CellLoader(manager, store=laid_out(manager), sampler=sampler))
    want = list(AnnDataLoader(manager, sampler=sampler))
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one["X"].to_dense().squeeze(0), other["X"].squeeze(0))


# -- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 7))
@pytest.mark.parametrize("batch_size", [1, 7, 10, 30, 100])
def test_groups(manager, size, batch_size):
    loader = CellLoader(manager, store=laid_out(manager), batch_size=batch_size, shuffle=True)
    want, _ = epochs(loader, n=1)
    torch.manual_seed(5)
    groups = Groups(loader, size)
    got = list(groups)
    assert groups.n_minibatches == len(want)
    assert groups.sampler is loader.sampler
    assert len(got) == len(groups)
    assert [len(group) for group in got[:-1]] == [size] * (len(got) - 1)
    assert 1 <= len(got[-1]) <= size
    flat = [minibatch for group in got for minibatch in group]
    assert_same(flat, [m | {"X": m["X"].to_dense()} for m in want])


# -- minibatches prepared ahead ---------------------------------------------------------------


def ahead(manager, store=None, **kwargs):
    store = laid_out(manager) if store is None else store
    return CellLoader(manager, store=store, device=torch.device("cpu"), **kwargs)


@pytest.mark.parametrize("batch_size", [1, 7, 15, 30])
def test_prefetched(manager, batch_size):
    """No more minibatches than are prepared ahead, and more."""
    loader = ahead(manager, batch_size=batch_size)
    rows = np.random.default_rng(0).permutation(N_CELLS)
    batches = [rows[i : i + batch_size].tolist() for i in range(0, N_CELLS, batch_size)]
    got = list(loader._prefetched(map(loader.store.take, batches)))
    assert_same(got, [m | {"X": m["X"].to_dense()} for m in map(loader.store.take, batches)])
    assert [rows_of(m) for m in got] == batches
    assert list(loader._prefetched(iter([]))) == []


def test_prefetched_cells_of_a_subset(manager):
    """The sampler counts within the loader's own cells, and is asked here, not by the thread."""
    loader = ahead(manager, indices=[20, 21, 22], batch_size=2)
    loader.order = [[2, 0], [1]]
    assert [rows_of(m) for m in loader._taken(0)] == [[22, 20], [21]]


class Recording:
    """Cells that note who asks for what, and fail at one of them."""

    def __init__(self, cells, fails_at=None):
        self.cells, self.fails_at, self.taken, self.threads = cells, fails_at, [], set()

    def take(self, rows):
        self.taken.append(list(rows))
        self.threads.add(threading.current_thread())
        if self.fails_at in rows:
            raise OSError("the file is gone")
        return self.cells.take(rows)


def test_prefetched_by_another_thread_and_not_all_at_once(manager):
    cells = Recording(laid_out(manager))
    loader = ahead(manager, cells)
    drawn = []

    def batches():
        for i in range(N_CELLS):
            drawn.append(i)
            yield [i]

    minibatches = loader._prefetched(map(cells.take, batches()))
    for i in range(10):
        assert rows_of(next(minibatches)) == [i]
        assert len(drawn) <= i + 1 + N_AHEAD
    minibatches.close()
    assert cells.taken == [[i] for i in drawn]
    (thread,) = cells.threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


@pytest.mark.parametrize("row", [0, 3, N_CELLS - 1])
def test_failures_while_prefetching_reach_the_training(manager, row):
    loader = ahead(manager, Recording(laid_out(manager), fails_at=row))
    got = []
    with pytest.raises(OSError, match="the file is gone"):
        got.extend(loader._prefetched(map(loader.store.take, ([i] for i in range(N_CELLS)))))
    (thread,) = loader.store.threads
    assert not thread.is_alive()


def test_map_parts():
    dense = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(map_parts(dense, lambda t: 2 * t), 2 * dense)
    parts = torch.tensor([0, 1, 2]), torch.tensor([2, 0]), torch.tensor([5.0, 7.0])
    seen = []
    got = map_parts(csr(*parts, 4), lambda t: seen.append(t) or t.clone())
    assert all(map(torch.equal, seen, parts))
    assert got.layout == torch.sparse_csr
    assert got.shape == (2, 4)
    assert got.to_dense().tolist() == [[0.0, 0.0, 5.0, 0.0], [7.0, 0.0, 0.0, 0.0]]
    assert got.values().data_ptr() != parts[2].data_ptr()


# -- splitter ---------------------------------------------------------------------------------

SPLITS = {
    "default": {},
    "three parts": {"train_size": 0.7, "validation_size": 0.2},
    "all to train": {"train_size": 1.0},
    "as they are": {"train_size": 0.7, "shuffle_set_split": False},
    "without the last": {"train_size": 0.7, "drop_last": True},
    "given": {
        "external_indexing": [np.arange(3, 30), np.array([2, 0]), np.array([1])],
    },
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed_of_scvi", [0, 3])
def test_split_is_that_of_scvi(manager, split, seed_of_scvi, monkeypatch):
    monkeypatch.setattr(scvi.settings, "_seed", seed_of_scvi)
    epochs_of = {}
    for cls in (CellSplitter, DataSplitter):
        splitter = cls(manager, batch_size=6, **SPLITS[split])
        splitter.setup()
        splitter.setup("validate")  # Lightning sets up at each stage
        torch.manual_seed(1)
        loaders = [getattr(splitter, f"{name}_dataloader")() for name in ("train", "val", "test")]
        epochs_of[cls] = [None if loader is None else list(loader) for loader in loaders]
    for got, want in zip(epochs_of[CellSplitter], epochs_of[DataSplitter], strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            assert_same(got, want)


def test_minibatches_of_the_splitter(manager):
    splitter = CellSplitter(manager, batch_size=4, train_size=0.8)
    splitter.setup()
    loaders = splitter.train_dataloader(), splitter.val_dataloader()
    assert all(isinstance(loader, CellLoader) for loader in loaders)
    assert loaders[0].store is loaders[1].store  # one copy of the counts
    splitter.group_size = 4
    grouped = splitter.train_dataloader()
    assert isinstance(grouped, Groups)
    assert [len(group) for group in grouped] == [4, 2]
    assert isinstance(splitter.val_dataloader(), CellLoader)
    batch = next(iter(loaders[0]))
    assert splitter.on_after_batch_transfer(batch, 0) is batch
    assert batch["X"].layout == torch.sparse_csr


@pytest.mark.parametrize("n_cells", [1, 2])
def test_very_few_cells_are_all_trained_on(adata, n_cells):
    """scvi-tools moves them out of the training set, and has none left."""
    few = adata[:n_cells].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scvi-tools', of batches of few cells
        SCVI.setup_anndata(few)
    splitter = CellSplitter(SCVI(few).adata_manager, batch_size=128)
    splitter.setup()
    assert sorted(splitter.train_idx) == list(range(n_cells))
    assert len(splitter.val_idx) == 0
    assert [rows_of(minibatch) for minibatch in splitter.train_dataloader()]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train_size": 0.0}, "`train_size` is 0.0"),
        ({"train_size": 1.2}, "`train_size` is 1.2"),
        ({"train_size": float("nan")}, "`train_size` is nan"),
        ({"train_size": "0.9"}, "`train_size` is '0.9'"),
        ({"validation_size": 1.0}, "`validation_size` is 1.0"),
        ({"train_size": 0.9, "validation_size": 0.2}, "more than all cells"),
        ({"validation_size": 0.5}, "more than all cells"),
        ({"batch_size": -1}, "`batch_size` is -1"),
        ({"batch_size": 128, "drop_last": True}, "fewer than one minibatch of 128"),
        ({"external_indexing": [np.array([], int), np.arange(N_CELLS)]}, "training set, is empty"),
    ],
)
def test_sizes_that_cannot_be(manager, sizes, message):
    with pytest.raises(DataError, match=message) as error:
        CellSplitter(manager, **sizes)
    assert error.value.remedy


# -- an epoch that was interrupted


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("n_done", [1, 2, 4])
def test_the_rest_of_an_epoch(manager, monkeypatch, size, n_done):
    """The same minibatches follow, in all epochs; none that is done is read."""
    store = laid_out(manager)
    arguments = {"shuffle": True, "batch_size": 3, "store": store, "description": None}
    loader = Groups(CellLoader(manager, **arguments), size)
    torch.manual_seed(3)
    torch.rand(2)
    groups = iter(loader)
    before = [next(groups) for _ in range(min(n_done, len(loader) - 1))]
    place, state = loader.state_dict(), torch.get_rng_state()
    assert place["n_done"] == len(before)
    want = [*groups, *loader]

    read = []
    take = type(store).take
    monkeypatch.setattr(type(store), "take", lambda s, rows: read.append(rows) or take(s, rows))
    torch.manual_seed(99)
    again = Groups(CellLoader(manager, **arguments), size)
    again.load_state_dict(place)
    rest = iter(again)
    first = next(rest)
    torch.set_rng_state(state)  # as whoever goes on does, before the first step
    got = [first, *rest, *again]
    assert [[rows_of(m) for m in group] for group in got] == [
        [rows_of(m) for m in group] for group in want
    ]
    assert len(read) == sum(map(len, want))


def test_the_generators_are_left_as_they_are(manager):
    loader = CellLoader(manager, shuffle=True, batch_size=3)
    next(iter(loader))
    place = loader.state_dict()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    loader.load_state_dict(place)
    next(iter(loader))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_that_was_over_is_followed_by_the_next(manager):
    loader = CellLoader(manager, shuffle=True, batch_size=4)
    assert len(list(loader)) == len(loader)
    place = loader.state_dict()
    assert place["n_done"] == len(loader)
    loader.load_state_dict(place)
    assert len(list(loader)) == len(loader)


def test_the_rest_of_an_epoch_by_workers(manager):
    arguments = {"shuffle": True, "batch_size": 4, "num_workers": 1}
    loader = CellLoader(manager, **arguments)
    epoch = iter(loader)
    next(epoch)
    place = loader.state_dict()
    want = [rows_of(minibatch) for minibatch in epoch]
    again = CellLoader(manager, **arguments)
    again.load_state_dict(place)
    assert [rows_of(minibatch) for minibatch in again] == want


def test_a_worker_that_is_killed(manager):
    loader = CellLoader(manager, batch_size=1, num_workers=1, prefetch_factor=1)
    epoch = iter(loader)
    next(epoch)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(LostWorkerError, match="`num_workers` is 1") as raised:
        list(epoch)
    assert '"num_workers": 0' in raised.value.remedy
