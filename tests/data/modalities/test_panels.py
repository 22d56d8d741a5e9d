"""Panels say the same as the mask of what was measured in which cell."""

import numpy as np
import pytest

from lucidvi.data import Panels

MASKS = [
    np.random.default_rng(seed).random((20, 3)) < share for seed, share in enumerate((0.5, 0.9))
]
MASKS += [
    np.ones((4, 3), bool),
    np.zeros((4, 3), bool),
    np.random.default_rng(2).random((9, 20)) < 0.6,
]


@pytest.mark.parametrize("mask", MASKS)
def test_of_a_mask(mask):
    panels = Panels.of_mask(mask)
    every = np.arange(len(mask))
    np.testing.assert_array_equal(panels.of(every), mask)
    np.testing.assert_array_equal(panels.present, mask.any(axis=1))
    assert panels.is_paired == mask.any(axis=1).all()
    assert panels.is_complete == mask[mask.any(axis=1)].all()
    distinct = {tuple(row) for row in mask if row.any()}
    assert len(panels.table) == len(distinct)


def test_of_what_both_measured():
    one, other = (np.random.default_rng(seed).random((30, 4)) < 0.5 for seed in (3, 4))
    both = Panels.of_mask(one) & Panels.of_mask(other)
    np.testing.assert_array_equal(both.of(np.arange(30)), one & other)
    assert len(np.unique(both.table, axis=0)) == len(both.table)


def test_among_more_cells():
    mask = np.array([[True, False], [True, True]])
    placed = Panels.of_mask(mask).placed(np.array([3, 1]), 5)
    np.testing.assert_array_equal(placed.present, [False, True, False, True, False])
    np.testing.assert_array_equal(placed.of(np.array([3, 1])), mask)


def test_complete():
    panels = Panels.complete(3, 2)
    assert panels.of(np.arange(3)).all()
    assert panels.is_paired
    assert panels.is_complete
