"""Whether cells of two times are told apart by more than their labels."""

import warnings

import numpy as np
import pytest
from scipy import stats
from tests.dynamics.conftest import circling

from lucidvi import dynamics
from lucidvi.dynamics._apart import chance_of_apart


def chance(shift, seed, n=60, k=3, scale=1.0):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(n, k)), scale * rng.normal(size=(n + 20, k))
    return chance_of_apart(first, second + shift, rng)


def test_of_equal_samples_it_is_uniform():
    """Kolmogorov-Smirnov of 150 draws, at a fixed seed."""
    chances = [chance(0.0, seed) for seed in range(150)]
    assert stats.kstest(chances, "uniform").pvalue > 0.01


def test_what_differs_is_found():
    assert chance(1.0, 0) <= 0.002
    assert chance(0.0, 0, n=200, scale=2.0) <= 0.002  # of one mean, wider


def test_it_does_not_depend_on_the_axes_or_units():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(50, 3)), rng.normal(size=(40, 3)) + 0.3
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    plain, turned = (
        chance_of_apart(a, b, np.random.default_rng(1))
        for a, b in ((first, second), (7 * first @ turn, 7 * second @ turn))
    )
    assert plain == turned


def test_a_field_says_where_it_has_no_direction():
    z, time = circling(60, [0.0, 1.0, 2.0])
    rng = np.random.default_rng(0)
    z[time == 2] = z[time == 1] + 0.01 * rng.normal(size=(60, 2))
    with pytest.warns(UserWarning, match="Cells of the times '1 and 2' are no further apart"):
        field = dynamics.fit_flow(z, time, n_members=1, n_steps=5)
    chances = field.samples["p_apart"]
    assert np.isnan(chances.iloc[0])
    assert chances[1.0] <= 0.002
    assert chances[2.0] > 0.05


def test_permuted_times_have_none():
    z, time = circling(60, [0.0, 1.0, 2.0])
    permuted = np.random.default_rng(3).permutation(time)
    with pytest.warns(UserWarning, match="no further apart"):
        field = dynamics.fit_flow(z, permuted, n_members=1, n_steps=5)
    assert (field.samples["p_apart"].iloc[1:] > 0.05).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamics.fit_flow(z, time, n_members=1, n_steps=5)
