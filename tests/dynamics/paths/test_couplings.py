"""Couplings meet both samples, and who grows is told from who moves."""

import numpy as np
import pytest

from lucidvi._transport import pot
from lucidvi.dynamics.paths._couplings import MOST_GROWTH, couple


@pytest.fixture(scope="module")
def ot():
    return pot("`test`", "dynamics")


def groups(rng, n_still, n_moving, at):
    """Cells of a group that stays and of one that moves, and which of them move."""
    still = rng.normal(size=(n_still, 2)) * 0.2
    moving = rng.normal(size=(n_moving, 2)) * 0.2 + at
    return np.concatenate([still, moving]), np.arange(n_still + n_moving) >= n_still


@pytest.mark.parametrize("relaxation", [0.1, 0.3, 1.0])
def test_a_group_that_moves_and_doubles(ot, relaxation):
    rng = np.random.default_rng(0)
    first, moving = groups(rng, 150, 150, [3.0, 0.0])
    second, _ = groups(rng, 150, 300, [2.0, 2.0])
    coupling = couple(ot, first, second, (1.0, 1.5), relaxation)
    log_growth, _ = coupling.growth()
    np.testing.assert_allclose(log_growth[moving].mean(), np.log(2), atol=0.02)
    np.testing.assert_allclose(log_growth[~moving].mean(), 0, atol=0.02)
    # Not the front of the group grows, and not its rear dies.
    assert log_growth[moving].std() < 0.1
    goes = coupling.forward(second)
    assert np.linalg.norm(goes[moving] - [2.0, 2.0], axis=1).max() < 1
    assert np.linalg.norm(goes[~moving], axis=1).max() < 1


def test_both_samples_are_met(ot):
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(60, 3)), rng.normal(size=(80, 3)) + 0.5
    coupling = couple(ot, first, second, (2.0, 3.0), 2.0)
    assert np.ptp(coupling.log_start) < MOST_GROWTH / 2
    start = coupling.plan.sum(axis=1) * np.exp(coupling.log_start)
    end = coupling.plan.sum(axis=0) * np.exp(coupling.log_end)
    np.testing.assert_allclose(start, 2 / 60)
    np.testing.assert_allclose(end, 3 / 80)


def test_without_growth_all_become_as_much(ot):
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(40, 2)), rng.normal(size=(50, 2))
    coupling = couple(ot, first, second, (1.0, 1.0), None)
    np.testing.assert_allclose(coupling.plan.sum(axis=1), 1 / 40)
    for log_growth in coupling.growth():
        np.testing.assert_allclose(log_growth, 0, atol=1e-9)


def test_pairs_are_drawn_as_planned(ot):
    rng = np.random.default_rng(3)
    coupling = couple(ot, *rng.normal(size=(2, 12, 2)), (1.0, 1.0), 0.3)
    first, second = coupling.draw(200_000, rng)
    drawn = np.zeros((12, 12))
    np.add.at(drawn, (first, second), 1 / 200_000)
    np.testing.assert_allclose(drawn, coupling.plan / coupling.plan.sum(), atol=1e-4)


def test_nothing_depends_on_rotation_and_scale(ot):
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(30, 3)), rng.normal(size=(40, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * 100
    one = couple(ot, first, second, (1.0, 2.0), 0.3)
    other = couple(ot, first @ turn, second @ turn, (1.0, 2.0), 0.3)
    np.testing.assert_allclose(one.plan, other.plan, rtol=1e-6, atol=1e-12)
