"""Estimates by importance sampling with a control variate of known mean."""

import torch
from torch.distributions import Normal

from lucidvi.inference import Estimate

N, N_CELLS = 400, 2_000


def weighted(target, near, scale=1.4):
    """Return log weights of draws of a normal, and log ratios of a density near the target."""
    torch.manual_seed(0)
    proposal = Normal(torch.tensor(0.0, dtype=torch.float64), scale)
    z = proposal.sample((N, N_CELLS))
    log_q = proposal.log_prob(z)
    return target(z) - log_q, near.log_prob(z) - log_q


def test_a_density_that_is_the_control_is_found_exactly():
    near = Normal(torch.tensor(0.2, dtype=torch.float64), 1.0)
    log_weights, log_control = weighted(lambda z: near.log_prob(z) - 612.5, near)
    plain = Estimate.from_log_weights(log_weights)
    better = plain.controlled(log_weights, log_control)
    torch.testing.assert_close(better.log_px, torch.full_like(better.log_px, -612.5))
    assert (better.standard_error < 1e-8).all()
    assert plain.standard_error.mean() > 0.01
    assert torch.equal(better.k_hat, plain.k_hat)


def test_errors_are_those_that_are_stated_and_smaller():
    """Of a skew normal density: over 2,000 estimates the error is as it says."""
    standard = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    near = Normal(torch.tensor(0.4, dtype=torch.float64), 0.92)

    def skewed(z):
        return standard.log_prob(z) + (2 * standard.cdf(0.6 * z)).log()

    log_weights, log_control = weighted(skewed, near)
    plain = Estimate.from_log_weights(log_weights)
    better = plain.controlled(log_weights, log_control)
    error = better.log_px.std()
    assert error < 0.6 * plain.log_px.std()
    torch.testing.assert_close(better.standard_error.mean(), error, rtol=0.1, atol=0)
    assert better.log_px.mean().abs() < 4 * error / N_CELLS**0.5 + error**2


def test_a_control_that_does_not_help_changes_nothing():
    far = Normal(torch.tensor(9.0, dtype=torch.float64), 0.1)
    near = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    log_weights, log_control = weighted(near.log_prob, far)
    plain = Estimate.from_log_weights(log_weights)
    better = plain.controlled(log_weights, log_control)
    assert torch.isfinite(better.log_px).all()
    assert (better.standard_error <= plain.standard_error).all()
    assert (better.log_px - plain.log_px).abs().max() < 0.2
