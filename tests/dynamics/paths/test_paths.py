"""Paths start and end at cells, and bend as the motion does."""

import numpy as np
import pytest

from lucidvi._transport import pot
from lucidvi.dynamics.paths._paths import N_PAIRS, paths_between, tangent


@pytest.fixture(scope="module")
def ot():
    return pot("`test`", "dynamics")


TIMES = np.array([0.0, 1.0, 3.0, 4.0])
START = np.random.default_rng(0).normal(size=(40, 2)) * 0.3
SPEED, ACCELERATION = np.array([2.0, 0.5]), np.array([-0.3, 0.8])


def falling(t):
    """Cells that all move along one parabola."""
    return START + SPEED * t + ACCELERATION * t**2 / 2


def paths(ot, bending=1.0, masses=None, relaxation=None):
    masses = np.ones(4) if masses is None else masses
    states = [falling(t) for t in TIMES]
    rng = np.random.default_rng(1)
    return paths_between(ot, TIMES, states, states, masses, relaxation, bending, rng)


def test_a_parabola_between_two_times_is_found_exactly(ot):
    found = paths(ot)
    t = np.linspace(1, 3, N_PAIRS)
    points = found.at(np.full(N_PAIRS, 1), np.arange(N_PAIRS), t)
    of_cell = found.first[1, :, :2] - falling(1.0).mean(axis=0) + START.mean(axis=0)
    where = of_cell + SPEED * t[:, None] + ACCELERATION * t[:, None] ** 2 / 2
    np.testing.assert_allclose(points.z, where, atol=1e-9)
    np.testing.assert_allclose(points.velocity, SPEED + ACCELERATION * t[:, None], atol=1e-9)
    np.testing.assert_allclose(points.growth, 0, atol=1e-9)


def test_straight_paths(ot):
    found = paths(ot, bending=0.0)
    points = found.at(np.full(10, 1), np.arange(10), np.linspace(1, 3, 10))
    chord = (falling(3.0) - falling(1.0)).mean(axis=0) / 2
    np.testing.assert_allclose(points.velocity, np.broadcast_to(chord, (10, 2)))


@pytest.mark.parametrize("k", [0, 1, 2])
def test_velocity_is_the_slope_of_the_path(ot, k):
    found = paths(ot, masses=np.array([1.0, 1.5, 2.0, 4.0]), relaxation=0.3)
    pairs, interval = np.arange(100), np.full(100, k)
    t = np.linspace(TIMES[k] + 0.01, TIMES[k + 1] - 0.01, 100)
    before, here, after = (found.at(interval, pairs, t + shift) for shift in (-1e-5, 0, 1e-5))
    np.testing.assert_allclose((after.z - before.z) / 2e-5, here.velocity, atol=1e-6)
    np.testing.assert_allclose((after.log_mass - before.log_mass) / 2e-5, here.growth, atol=1e-6)


def test_exponential_growth_is_found_exactly(ot):
    found = paths(ot, masses=np.exp(0.4 * TIMES), relaxation=10.0)
    points = found.draw(3_000, np.random.default_rng(2))
    np.testing.assert_allclose(points.growth, 0.4, atol=0.02)


def test_points_are_even_over_time(ot):
    t = paths(ot).draw(4_000, np.random.default_rng(0)).t
    np.testing.assert_allclose(np.histogram(t, 4, (0, 4))[0], 1_000, atol=1)


def test_tangent_of_a_parabola():
    times = np.array([1.0, 2.0, 5.0])
    points = [np.array([[3 * t**2 - t]]) for t in times]
    assert tangent(times, *points) == pytest.approx(3 * 2 * 2 - 1)


def test_noise_of_posteriors_neither_couples_nor_prices_growth(ot):
    """Where ten dimensions are not known, pairs and their masses are those of the means."""
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=(30, 2)) * 0.2 + [side, 0] for side in (-2, 2))
    first, second = np.concatenate([left, right]), np.concatenate([left[:10], right])
    means = [np.column_stack([z, np.zeros((len(z), 10))]) for z in (first, second)]
    states = [z + np.r_[np.zeros(2), np.ones(10)] * rng.normal(size=z.shape) for z in means]
    times, masses = np.array([0.0, 1.0]), np.ones(2)
    exact, noisy, wrong = (
        paths_between(ot, times, *given, masses, 1.0, 0.0, np.random.default_rng(1))
        for given in ((means, means), (means, states), (states, states))
    )
    np.testing.assert_array_equal(noisy.first[..., -1], exact.first[..., -1])
    np.testing.assert_array_equal(noisy.second[..., :2], exact.second[..., :2])
    assert noisy.first[..., 2:-1].std() > 0.9  # the field is told of draws all the same

    def of_right(paths):
        there = paths.first[0, :, 0] > 0
        return (paths.second - paths.first)[0, there, -1].mean()

    assert of_right(noisy) > of_right(wrong) > 0
