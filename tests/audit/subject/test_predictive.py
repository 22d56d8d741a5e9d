"""Positions of counts in their distributions, against scipy."""

import numpy as np
import pytest
from scipy import stats

from lucidvi.audit.subject._predictive import (
    coverage,
    excess_correlation,
    ks_uniform,
    quantile_residuals,
)
from lucidvi.distributions._negative_binomial import nb_cumulative


def residuals(mu, theta, assumed, n_cells=4000):
    """Residuals of negative binomial counts under an assumed dispersion."""
    rng = np.random.default_rng(1)
    mu = np.broadcast_to(mu, (n_cells, len(mu)))
    x = rng.poisson(mu * rng.gamma(theta, 1 / theta, mu.shape)).astype(float)
    return quantile_residuals(*nb_cumulative(x, mu, np.full_like(mu, assumed)), rng)


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
