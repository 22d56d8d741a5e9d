"""Strata have their shares, and every cell its chance."""

import numpy as np
import pytest

from lucidvi.data import stratified


def test_every_stratum_has_its_share():
    strata = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = stratified(strata, 100, np.random.default_rng(0))
    assert len(set(chosen)) == 100
    np.testing.assert_allclose(np.bincount(strata[chosen]), [60, 30, 10], atol=1)


def test_all_are_chosen_where_there_are_few():
    cells = np.array([5, 3, 9])
    assert (stratified(np.zeros(3), 10, np.random.default_rng(0), cells) == cells).all()


def test_chance_is_fair():
    strata = np.repeat([0, 1], [97, 3])
    rng = np.random.default_rng(0)
    counts = np.sum([np.isin(np.arange(100), stratified(strata, 20, rng)) for _ in range(800)], 0)
    assert counts[:97].mean() / 800 == pytest.approx(0.2, abs=0.01)
    assert counts[97:].mean() / 800 == pytest.approx(0.2, abs=0.04)
