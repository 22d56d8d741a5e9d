"""Times: those that are known, in the units of the velocity, on every shape."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from tests.dynamics.transitions.shapes import TURN, simulated

from lucidvi import dynamics
from lucidvi.errors import DataError

SHAPES = ["line", "bifurcation", "three-way", "cycle"]


def agreement(time, known):
    return spearmanr(time, known.time)[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("velocity_noise", [0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_time_and_its_units(shape, velocity_noise, seed):
    known = simulated(shape, velocity_noise=velocity_noise, seed=seed)
    time = dynamics.latent_time(known.z, known.velocity, int(known.time.argmin()))
    assert agreement(time, known) > (0.95 if shape == "cycle" else 0.99)
    assert np.polyfit(known.time, time, 1)[0] == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_the_source_is_found(shape):
    known = simulated(shape)
    time = dynamics.latent_time(known.z, known.velocity)
    assert time.min() == 0
    assert known.time[time.argmin()] < 0.3
    assert agreement(time, known) > 0.99


def test_a_cycle_is_cut_at_any_root():
    known = simulated("cycle")
    for start in (1.0, 2.5, 4.0):
        later = (known.time - start) % TURN
        time = dynamics.latent_time(known.z, known.velocity, [int(later.argmin())])
        assert spearmanr(time, later)[0] > 0.95
        assert np.ptp(time) == pytest.approx(TURN, rel=0.1)


def test_a_cycle_without_a_root():
    known = simulated("cycle")
    with pytest.warns(UserWarning, match="The flow goes round, and no root") as caught:
        time = dynamics.latent_time(known.z, known.velocity)
    start = known.time[int(str(caught[0].message).split("'")[1])]
    assert spearmanr(time, (known.time - start) % TURN)[0] > 0.95


def test_a_branch_that_leaves_a_cycle():
    rng = np.random.default_rng(0)
    angle, after = rng.uniform(0, TURN, 900), rng.uniform(0, 6, 600)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    z = np.concatenate([circle, np.column_stack([-np.ones(600), -after])])
    way = np.column_stack([-np.sin(angle), np.cos(angle)])
    velocity = np.concatenate([way, np.tile([0.0, -1.0], (600, 1))])
    truth = np.concatenate([angle, TURN / 2 + after])
    z, velocity = z + 0.05 * rng.normal(size=z.shape), velocity + 0.3 * rng.normal(size=z.shape)
    time = dynamics.latent_time(z, velocity, truth < 0.1)
    assert spearmanr(time, truth)[0] > 0.98
    np.testing.assert_allclose(np.ptp(time), np.ptp(truth), rtol=0.1)


@pytest.mark.parametrize("n", [3, 10, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_cells(n, dtype):
    truth = np.sort(np.random.default_rng(0).uniform(0, 3, n))
    z = np.column_stack([np.cos(truth), np.sin(truth)]).astype(dtype)
    velocity = np.column_stack([-np.sin(truth), np.cos(truth)]).astype(dtype)
    time = dynamics.latent_time(z, velocity)
    assert time.dtype == np.float64
    assert time.is_monotonic_increasing
    np.testing.assert_allclose(np.ptp(time), np.ptp(truth), rtol=0.3)


def test_one_that_is_known_exactly():
    """A straight line at one speed, from which the velocities do not differ."""
    z = np.random.default_rng(0).uniform(0, 4, (200, 1)) * [0.6, 0.8]
    time = dynamics.latent_time(z, np.tile([1.2, 1.6], (200, 1)))
    np.testing.assert_allclose(time, (z[:, 0] - z[:, 0].min()) / 1.2, atol=1e-6)


def test_upstream_of_the_root_time_is_negative():
    known = simulated("line")
    root = int(np.abs(known.time - 2).argmin())
    time = dynamics.latent_time(known.z, known.velocity, root)
    assert time[root] == 0
    assert agreement(time, known) > 0.99
    assert time.min() < -1.5


def test_ways_to_name_the_root():
    known = simulated("line", n=100)
    names = pd.Index([f"cell{i}" for i in range(100)])
    z = pd.DataFrame(known.z, names)
    root = np.argsort(known.time)[:3]
    mask = np.isin(np.arange(100), root)
    time = dynamics.latent_time(z, known.velocity, root)
    assert time.index.equals(names)
    assert time.name == "time"
    for other in (mask, names[root], pd.Series(mask, names), root.tolist()):
        pd.testing.assert_series_equal(dynamics.latent_time(z, known.velocity, other), time)


def test_velocities_that_are_not_known():
    known = simulated("bifurcation", n=900)
    velocity = known.velocity.copy()
    velocity[np.random.default_rng(5).random(900) < 0.7] = np.nan
    time = dynamics.latent_time(known.z, velocity, known.time < 0.1)
    assert agreement(time, known) > 0.98
    gap = (known.time > 4) & (known.time < 5)
    velocity = np.where(gap[:, None], np.nan, known.velocity)
    time = dynamics.latent_time(known.z, velocity, known.time < 0.1)
    assert np.isfinite(time).all()
    assert agreement(time, known) > 0.98


def test_uncertain_velocities_count_less():
    known = simulated("line", velocity_noise=0.2)
    rng = np.random.default_rng(5)
    bad = rng.random(len(known.z)) < 0.4
    velocity = np.where(bad[:, None], -3 * known.velocity, known.velocity)
    uncertainty = np.where(bad[:, None], 1e3, 0.1) * np.ones_like(velocity)
    time = dynamics.latent_time(known.z, velocity, uncertainty=uncertainty)
    assert agreement(time, known) > 0.99
    assert agreement(dynamics.latent_time(known.z, velocity), known) < 0.5


def test_velocities_that_contradict_each_other():
    z, velocity = np.random.default_rng(0).normal(size=(2, 400, 3))
    with pytest.warns(UserWarning, match="The velocities contradict each other"):
        dynamics.latent_time(z, velocity, 0)


def test_cells_without_a_path_to_the_root():
    known = simulated("line", n=200)
    z, velocity = np.tile(known.z, (2, 1)), np.tile(known.velocity, (2, 1))
    z[200:] += 1_000
    with pytest.warns(UserWarning, match="200 of 400 cells, '200' first, have no path"):
        time = dynamics.latent_time(z, velocity, np.arange(400) == known.time.argmin())
    assert time[200:].isna().all()
    assert agreement(time[:200], known) > 0.99
    with pytest.warns(UserWarning, match="2 parts without neighbours in each other, .* 200 cells"):
        time = dynamics.latent_time(z, velocity)
    np.testing.assert_allclose(time[200:], time[:200], atol=1e-6)
    both = [int(known.time.argmin()), 200 + int(known.time.argmin())]
    time = dynamics.latent_time(z, velocity, both)
    assert time[both[0]] == time[both[1]] == 0


@pytest.mark.parametrize("shape", ["three-way", "cycle"])
def test_it_is_the_same_each_time_and_for_all_axes(shape):
    known = simulated(shape, n=300)
    root = known.time < 0.2
    time = dynamics.latent_time(known.z, known.velocity, root)
    again = dynamics.latent_time(known.z, known.velocity, root)
    pd.testing.assert_series_equal(time, again, check_exact=True)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    # Twice the size at the same times, or twice the speed.
    moved = dynamics.latent_time(5 + 2 * known.z @ turn, 2 * known.velocity @ turn, root)
    np.testing.assert_allclose(moved, time, atol=1e-5)
    fast = dynamics.latent_time(known.z, 2 * known.velocity, root)
    np.testing.assert_allclose(fast, time / 2, atol=1e-5)


def test_every_way_to_solve(monkeypatch):
    known = simulated("three-way", n=300)
    time = dynamics.latent_time(known.z, known.velocity)
    monkeypatch.setattr("lucidvi.dynamics.transitions._potential.N_STEPS", 2)
    direct = dynamics.latent_time(known.z, known.velocity)
    np.testing.assert_allclose(direct, time, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_twenty_thousand_cells(shape):
    known = simulated(shape, n=20_000, n_latent=15, noise=0.05)
    time = dynamics.latent_time(known.z, known.velocity, known.time < 0.02)
    assert agreement(time, known) > 0.95


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        ([], "`root` is empty"),
        (np.zeros(30, bool), "`root` chooses none of the 30 cells"),
        (np.zeros(5, bool), "`root` is a mask of 5 values"),
        ([30], "`root` has position 30"),
        (["cell7"], "`root` names 1 that are no cells"),
    ],
)
def test_bad_roots(root, problem):
    z, velocity = np.random.default_rng(0).normal(size=(2, 30, 2))
    with pytest.raises(DataError, match=problem) as caught:
        dynamics.latent_time(z, velocity, root)
    assert caught.value.remedy
