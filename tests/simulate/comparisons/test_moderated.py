"""Moderated tests against closed forms and simulations of their own assumptions."""

import numpy as np
import pytest
from scipy import stats

from lucidvi.simulate.comparisons._moderated import moderated_t, prior_of

GROUPS = np.column_stack([np.ones(8), np.repeat([0.0, 1.0], 4)])


def test_one_variance_for_all_is_a_z_test_with_it():
    """With the same variance everywhere nothing is left to estimate gene by gene."""
    y = 0.5 * np.random.default_rng(0).normal(size=(8, 4000))
    change, p = moderated_t(y, GROUPS)
    np.testing.assert_allclose(change, y[4:].mean(axis=0) - y[:4].mean(axis=0))
    known = 2 * stats.norm.sf(np.abs(change) / (0.5 * np.sqrt(0.5)))
    np.testing.assert_allclose(p, known, atol=0.02)


@pytest.mark.parametrize("df", [4, 30])
def test_prior_is_found(df):
    """Variances from an inverse chi-squared prior whose scale follows the expression."""
    rng = np.random.default_rng(1)
    mean = rng.uniform(0, 8, size=20_000)
    scale = np.exp(1 - 0.3 * mean)
    true = scale * 6 / rng.chisquare(6, size=len(mean))
    found_df, found = prior_of(true * rng.chisquare(df, size=len(mean)) / df, df, mean)
    assert found_df == pytest.approx(6, rel=0.15)
    np.testing.assert_allclose(found, scale, rtol=0.15)


def test_null_p_values_are_uniform():
    rng = np.random.default_rng(2)
    sd = np.sqrt(0.2 * 5 / rng.chisquare(5, size=5000))
    _, p = moderated_t(sd * rng.normal(size=(8, 5000)), GROUPS)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_blocks_are_a_paired_test():
    """With a column for each donor, one gene alone is the paired t-test."""
    y = np.random.default_rng(3).normal(size=(10, 1))
    design = np.column_stack([np.tile(np.eye(5), (2, 1)), np.repeat([0.0, 1.0], 5)])
    change, p = moderated_t(y, design)
    exact = stats.ttest_rel(y[5:, 0], y[:5, 0])
    assert p[0] == pytest.approx(exact.pvalue)
    assert change[0] == pytest.approx(y[5:].mean() - y[:5].mean())
