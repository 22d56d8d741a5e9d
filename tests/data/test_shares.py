"""Minibatches of any sampler, shared out to processes."""

from itertools import chain

import numpy as np
import pytest
import torch
from anndata import read_h5ad
from torch.utils.data import BatchSampler, SequentialSampler

from lucidvi._ranks import ALONE, Ranks
from lucidvi.data import CellLoader, total_of
from lucidvi.data._shares import Shares
from lucidvi.errors import DataError
from lucidvi.model import SCVI


class Quiet(Ranks):
    """Processes that agree on what they draw already, as they draw nothing."""

    def from_first(self, value):
        return value


@pytest.fixture
def manager(adata):
    SCVI.setup_anndata(adata)
    return SCVI(adata).adata_manager


@pytest.mark.parametrize("as_rows", [list, np.array])
def test_shares_make_up_the_minibatches(as_rows):
    batches = [as_rows([7, 3, 5]), as_rows([1]), as_rows([2, 9, 8, 4])]
    shares = [Shares(batches, Quiet(rank, 2)) for rank in range(2)]
    parts = [[list(rows) for rows in share] for share in shares]
    assert parts == [[[7, 5], [1], [2, 8]], [[3], [1], [9, 4]]]
    assert [list(share.totals) for share in shares] == [[3, 1, 4]] * 2
    assert len(shares[0]) == 3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loaders_say_how_many_cells_there_are_in_all(manager, num_workers):
    seen = []
    for rank in range(2):
        loader = CellLoader(
            manager, batch_size=8, ranks=Quiet(rank, 2), num_workers=num_workers, description=None
        )
        for _ in range(2):  # an epoch that is broken off leaves nothing behind
            minibatches = iter(loader)
            next(minibatches)
        minibatches = list(loader)
        assert [total_of(minibatch) for minibatch in minibatches] == [8] * 7 + [4]
        assert [len(minibatch["X"]) for minibatch in minibatches] == [4] * 7 + [2]
        assert len(loader) == 8
        seen.append(np.concatenate([minibatch["X"].to_dense() for minibatch in minibatches]))
    counts = manager.adata.X.toarray()
    np.testing.assert_array_equal(seen[0], counts[::2])
    np.testing.assert_array_equal(seen[1], counts[1::2])


READINGS = {
    "in memory": (False, {}),
    "by a worker": (False, {"num_workers": 1}),
    "in a file, at once": (True, {}),
    "in a file, in blocks": (True, {"buffer_size": 24, "block_size": 5}),
}


@pytest.mark.parametrize("reading", READINGS)
def test_shares_of_an_epoch_that_goes_on(make_adata, tmp_path, reading):
    """Each cell is in the part of one process, also after minibatches that were left out."""
    (adata := make_adata(61, 12)).X = np.arange(61)[:, None] + np.ones((61, 12))
    adata.write_h5ad(file := tmp_path / "cells.h5ad")
    is_backed, how = READINGS[reading]
    adata = read_h5ad(file, backed="r" if is_backed else None)
    SCVI.setup_anndata(adata)
    manager = SCVI(adata).adata_manager

    def epoch(ranks=ALONE, n_done=0):
        loader = CellLoader(
            manager, batch_size=7, shuffle=True, ranks=ranks, description=None, **how
        )
        torch.manual_seed(3)
        if n_done:
            loader.load_state_dict({"generator": torch.get_rng_state(), "n_done": n_done})
            torch.manual_seed(4)  # what goes on draws otherwise
        found = [(total_of(it), it["X"].to_dense()[:, 0].int().tolist()) for it in loader]
        assert loader.state_dict()["n_done"] == 9
        return found

    whole = [cells for _, cells in epoch()]
    assert sorted(chain.from_iterable(whole)) == list(range(1, 62))
    assert [len(cells) for cells in whole] == [7] * 8 + [5]
    for n_done in (0, 1, 5):
        shares = [epoch(Quiet(rank, 2), n_done) for rank in range(2)]
        for rank, share in enumerate(shares):
            assert [cells for _, cells in share] == [cells[rank::2] for cells in whole[n_done:]]
            assert [total for total, _ in share] == list(map(len, whole[n_done:]))


def test_minibatches_of_one_process_say_nothing(manager):
    minibatch = next(iter(CellLoader(manager, batch_size=8, description=None)))
    assert total_of(minibatch) is None


def test_own_samplers_of_cells_are_refused(manager):
    sampler = BatchSampler(SequentialSampler(range(10)), 5, drop_last=False)
    with pytest.raises(DataError, match="leave `sampler` out"):
        CellLoader(manager, sampler=sampler, ranks=Quiet(0, 2))
