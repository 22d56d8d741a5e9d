"""An order of cells in a file: each once, block by block, and at random."""

import numpy as np
import pytest
import torch

from lucidvi.data import BlockShuffle


def epoch(order, seed=0):
    torch.manual_seed(seed)
    return list(order)


SIZES = [
    # cells, minibatch, block, buffer
    (1, 5, 3, 10),
    (7, 5, 3, 10),
    (100, 10, 8, 40),
    (103, 10, 8, 40),
    (103, 7, 16, 30),
    (103, 7, 200, 30),
    (103, 7, 16, 1000),
    (103, 50, 1, 10),
]


@pytest.mark.parametrize(("n", "batch", "block", "buffer"), SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_cell_once(n, batch, block, buffer, seed):
    positions = np.random.default_rng(seed).permutation(3 * n)[:n]
    order = BlockShuffle(positions, batch, False, block, buffer)
    got = epoch(order, seed)
    assert len(got) == len(order) == -(-n // batch)
    assert sorted(np.concatenate(got)) == list(range(n))
    assert [len(rows) for rows in got[:-1]] == [batch] * (len(got) - 1)


@pytest.mark.parametrize(("n", "batch", "block", "buffer"), SIZES)
def test_last_minibatch_is_left_out(n, batch, block, buffer):
    order = BlockShuffle(np.arange(n), batch, True, block, buffer)
    got = epoch(order)
    assert len(got) == len(order) == n // batch
    assert all(len(rows) == batch for rows in got)
    assert len(set(np.concatenate([*got, []]))) == len(got) * batch


def test_what_is_read_at_once_lies_in_blocks():
    """And fills the buffer, the cells of which are those of its minibatches."""
    positions = np.random.default_rng(0).permutation(10_000)
    order = BlockShuffle(positions, 10, False, 50, 405)
    got = epoch(order)
    for first in range(0, len(got), 40):
        rows = np.sort(positions[np.concatenate(got[first : first + 40])])
        assert len(rows) == 400
        n_runs = 1 + (np.diff(rows) > 1).sum()
        # Eight blocks; the first and the last of the file are shorter, two are cut by the buffer.
        assert n_runs <= 8 + 4


def test_order_is_that_of_the_seed_and_another_in_each_epoch():
    order = BlockShuffle(np.arange(1000), 10, False, 20, 200)
    one, same, other = epoch(order), epoch(order), epoch(order, 1)
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))
    torch.manual_seed(0)
    first, second = list(order), list(order)
    assert all(map(np.array_equal, first, one))
    assert not all(map(np.array_equal, second, one))


def test_cells_are_in_any_minibatch_with_any_others():
    """Over 400 epochs: the mean place of a cell, and how often neighbours share a minibatch."""
    n, batch, n_epochs = 200, 20, 400
    order = BlockShuffle(np.arange(n), batch, False, 10, 100)
    torch.manual_seed(0)
    of = np.empty((n_epochs, n), int)
    for i in range(n_epochs):
        for number, rows in enumerate(order):
            of[i, rows] = number
    places = of.mean(axis=0)
    spread = np.sqrt((n // batch) ** 2 / 12 / n_epochs)
    assert abs(places - (n // batch - 1) / 2).max() < 5 * spread
    # Of one block, so of one buffer: one in five minibatches of that is another cell's.
    beside = (of[:, :-1] == of[:, 1:]).mean()
    assert 0.15 < beside < 0.2
    # Of other blocks: as if at random, one in ten.
    apart = (of[:, :100] == of[:, 100:]).mean()
    assert abs(apart - 0.1) < 0.01
