"""Positions of counts in their distributions, against scipy."""

import numpy as np
import pytest
from scipy import stats

from lucidvi.audit.subject._predictive import (
    coverage,
    excess_correlation,
    ks_uniform,
    nb_bounds,
    normal_bounds,
    poisson_bounds,
    quantile_residuals,
    zinb_bounds,
)

X = np.array([[0.0, 1, 2, 7, 300, 0, 20]])
MU = np.array([[0.01, 1, 3, 5, 250, 9, 1e-3]])
THETA = np.array([[0.1, 1, 2, 50, 3, 0.5, 1e5]])


def test_poisson():
    lower, upper = poisson_bounds(X, MU)
    np.testing.assert_allclose(upper, stats.poisson(MU).cdf(X), rtol=1e-10)
    np.testing.assert_allclose(lower, stats.poisson(MU).cdf(X - 1), rtol=1e-10)


def test_negative_binomial():
    lower, upper = nb_bounds(X, MU, THETA)
    exact = stats.nbinom(THETA, THETA / (THETA + MU))
    np.testing.assert_allclose(upper, exact.cdf(X), rtol=1e-8)
    np.testing.assert_allclose(lower, exact.cdf(X - 1), rtol=1e-8)


def test_negative_binomial_of_no_dispersion_is_a_poisson():
    found, want = nb_bounds(X, MU, np.full_like(MU, 1e12)), poisson_bounds(X, MU)
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_zero_inflation():
    zi = np.full_like(MU, 0.3)
    lower, upper = zinb_bounds(X, MU, THETA, zi)
    exact = stats.nbinom(THETA, THETA / (THETA + MU))
    np.testing.assert_allclose(upper, 0.3 + 0.7 * exact.cdf(X), rtol=1e-8)
    np.testing.assert_allclose(lower, np.where(X > 0, 0.3 + 0.7 * exact.cdf(X - 1), 0), rtol=1e-8)


def test_normal():
    lower, upper = normal_bounds(X, MU, THETA)
    np.testing.assert_allclose(lower, stats.norm(MU, THETA).cdf(X))
    assert (lower == upper).all()


def residuals(mu, theta, assumed, n_cells=4000):
    """Residuals of negative binomial counts under an assumed dispersion."""
    rng = np.random.default_rng(1)
    mu = np.broadcast_to(mu, (n_cells, len(mu)))
    x = rng.poisson(mu * rng.gamma(theta, 1 / theta, mu.shape)).astype(float)
    return quantile_residuals(*nb_bounds(x, mu, np.full_like(mu, assumed)), rng)


def test_residuals_of_the_right_model_are_uniform():
    right = residuals(np.array([0.05, 0.5, 5, 50]), 2.0, assumed=2.0)
    assert (ks_uniform(right)[1] > 0.01).all()
    levels = np.array([0.5, 0.9])
    np.testing.assert_allclose(coverage(right, levels), levels, atol=0.015)
    assert excess_correlation(right) < 0.02
    wrong = residuals(np.array([5.0, 50]), 2.0, assumed=1e4)
    assert (ks_uniform(wrong)[1] < 1e-6).all()
    assert coverage(wrong, levels)[1] < 0.7


@pytest.mark.parametrize("n", [30, 400])
def test_kolmogorov_smirnov(n):
    values = np.random.default_rng(0).beta(1, 1.2, size=(n, 6))
    distance, p = ks_uniform(values)
    exact = [stats.kstest(column, "uniform") for column in values.T]
    np.testing.assert_allclose(distance, [test.statistic for test in exact])
    np.testing.assert_allclose(p, [test.pvalue for test in exact], rtol=0.1, atol=5e-3)


def test_correlation_that_is_left_over():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 30))
    correlated = stats.norm.cdf(np.sqrt(0.2) * shared + np.sqrt(0.8) * own)
    assert excess_correlation(correlated) == pytest.approx(0.2, abs=0.02)
