"""Minibatches of any sampler, shared out to processes."""

import numpy as np
import pytest
from torch.utils.data import BatchSampler, SequentialSampler

from lucidvi._ranks import Ranks
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


def test_minibatches_of_one_process_say_nothing(manager):
    minibatch = next(iter(CellLoader(manager, batch_size=8, description=None)))
    assert total_of(minibatch) is None


def test_own_samplers_of_cells_are_refused(manager):
    sampler = BatchSampler(SequentialSampler(range(10)), 5, drop_last=False)
    with pytest.raises(DataError, match="leave `sampler` out"):
        CellLoader(manager, sampler=sampler, ranks=Quiet(0, 2))
