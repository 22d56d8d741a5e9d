"""The reference itself, against scipy and plain algebra."""

import numpy as np
import pytest
import scipy.stats
import torch


@pytest.mark.parametrize("condition", ["well", "badly"])
def test_marginal_and_posterior_are_those_of_bayes_rule(linear_gaussian, condition):
    """log p(x) = log p(x, z) - log p(z given x) at any z."""
    target = linear_gaussian(4, condition)
    z = torch.randn(3, target.n_cells, 4, dtype=torch.float64)
    by_bayes = target.log_joint(z) - target.posterior.log_prob(z)
    torch.testing.assert_close(by_bayes, target.log_px.expand(3, -1))
    covariance = (target.loadings @ target.loadings.T + target.noise**2 * torch.eye(60)).numpy()
    want = scipy.stats.multivariate_normal(np.zeros(60), covariance).logpdf(target.x.numpy())
    np.testing.assert_allclose(target.log_px, want)


@pytest.mark.parametrize("encoder", ["exact", "biased", "narrow"])
def test_gaps_add_up_to_the_divergence(linear_gaussian, encoder):
    target = linear_gaussian(4, "badly", encoder)
    z = target.q0.sample((20_000,))
    divergence = (target.q0.log_prob(z) - target.posterior.log_prob(z)).mean(dim=0)
    total = target.amortization_gap + target.approximation_gap
    np.testing.assert_allclose(divergence, total, rtol=0.05, atol=0.05)
    assert (target.amortization_gap > -1e-9).all()
    assert (target.approximation_gap > 0).all()
