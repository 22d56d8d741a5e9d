"""Estimates from importance weights, and whether they know when they are wrong."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, Pareto

from lucidvi.inference import Estimate, iwae, normal_k, pareto_k_hat


def test_equal_weights():
    estimate = Estimate.from_log_weights(torch.full((100, 3), -4.0, dtype=torch.float64))
    torch.testing.assert_close(estimate.log_px, torch.full((3,), -4.0, dtype=torch.float64))
    torch.testing.assert_close(estimate.effective_sample_size, 100 + 0 * estimate.log_px)
    assert (estimate.k_hat == -math.inf).all()
    assert estimate.is_trusted.all()
    assert (estimate.standard_error < 1e-12).all()


def test_error_is_never_below_the_rounding_of_the_weights():
    estimate = Estimate.from_log_weights(torch.full((50, 1), -600.0))
    assert 1e-4 < float(estimate.standard_error) < 1e-3


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_of_pareto_weights(k):
    log_weights = Pareto(1.0, torch.full((20_000, 8), 1 / k)).sample().log().double()
    np.testing.assert_allclose(pareto_k_hat(log_weights).mean(), k, atol=0.08)


@pytest.mark.parametrize("n_latent", [1, 3, 10])
@pytest.mark.parametrize("n_draws", [200, 2000])
def test_normal_k_is_exact_between_normals(n_latent, n_draws):
    """A standard deviation s times too small: k = 1 - s^2, whatever the draws show."""
    s = torch.linspace(0.3, 0.9, 4, dtype=torch.float64)[:, None].expand(4, n_latent)
    proposal, truth = (Independent(Normal(0 * s, scale), 1) for scale in (s, torch.ones_like(s)))
    z = proposal.sample((n_draws,))
    k = normal_k(truth.log_prob(z) - proposal.log_prob(z), z / s)
    torch.testing.assert_close(k, 1 - s[:, 0] ** 2, atol=1e-6, rtol=0)


def test_too_few_weights_to_tell():
    assert pareto_k_hat(torch.randn(24, 2)).isnan().all()
    assert normal_k(torch.randn(30, 2), torch.randn(30, 2, 5)).isnan().all()
    assert Estimate.from_log_weights(0.1 * torch.randn(20, 2)).is_trusted.all()
    assert not Estimate.from_log_weights(0.1 * torch.randn(5, 2)).is_trusted.any()


def test_concatenate():
    weights = torch.randn(100, 5).double()
    whole = Estimate.from_log_weights(weights)
    parts = Estimate.concatenate(
        [Estimate.from_log_weights(weights[:, :2]), Estimate.from_log_weights(weights[:, 2:])]
    )
    torch.testing.assert_close(parts.log_px, whole.log_px)
    torch.testing.assert_close(parts.k_hat, whole.k_hat)
    assert torch.equal(parts.is_trusted, whole.is_trusted)


@pytest.mark.slow
@pytest.mark.parametrize("n_latent", [2, 10, 50])
@pytest.mark.parametrize("condition", ["well", "badly"])
@pytest.mark.parametrize("encoder", ["exact", "biased", "narrow"])
def test_iwae_is_right_or_says_that_it_is_not(linear_gaussian, n_latent, condition, encoder):
    target = linear_gaussian(n_latent, condition, encoder, n_cells=250)
    estimate = iwae(target, 1000)
    deviation = (estimate.log_px - target.log_px).abs()
    trusted = estimate.is_trusted
    if trusted.sum() >= 20:
        within = deviation[trusted] <= 3 * estimate.standard_error[trusted] + 1e-9
        assert within.double().mean() >= 0.95
    far = deviation > 0.5
    if far.any():
        assert (~trusted[far]).double().mean() >= 0.95
