"""Annealed importance sampling and its reverse against the closed form."""

import pytest
import torch

from lucidvi.inference import ais, bracket, refined_ais
from lucidvi.inference._ais import temperatures
from lucidvi.inference._hmc import Path


def share_within(estimate, truth, n_errors=3):
    deviation = (estimate.log_px - truth).abs()
    return float((deviation <= n_errors * estimate.standard_error + 1e-8).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize("n_latent", [2, 10, 50])
@pytest.mark.parametrize("condition", ["well", "badly"])
@pytest.mark.parametrize("encoder", ["exact", "biased", "narrow"])
def test_refined_start_is_right_everywhere(linear_gaussian, n_latent, condition, encoder):
    target = linear_gaussian(n_latent, condition, encoder, n_cells=250)
    estimate = refined_ais(target, 16, 5)
    assert share_within(estimate, target.log_px) >= 0.95
    assert float((estimate.log_px - target.log_px).abs().max()) < 0.5


def test_from_the_prior(linear_gaussian):
    target = linear_gaussian(3, "well", n_cells=200)
    estimate = ais(target, 32, target.prior, n_temperatures=60)
    assert share_within(estimate, target.log_px) >= 0.95


def test_from_a_biased_encoder_it_is_nearer_than_iwae(linear_gaussian):
    from lucidvi.inference import iwae

    target = linear_gaussian(10, "badly", "biased")
    annealed = ais(target, 32, n_temperatures=60).log_px - target.log_px
    weighted = iwae(target, 1000).log_px - target.log_px
    assert float(annealed.abs().mean()) < float(weighted.abs().mean()) / 2


def test_weights_are_unbiased(linear_gaussian):
    """The mean of p-hat / p over many independent runs of few temperatures is 1."""
    target = linear_gaussian(2, "well", "biased", n_cells=400)
    ratio = (ais(target, 64, n_temperatures=8).log_px - target.log_px).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 20


def test_bracket_holds_the_truth(linear_gaussian):
    target = linear_gaussian(5, "well", "biased", n_cells=100)
    z = target.posterior.sample()
    bounds = bracket(target, z, 16, n_temperatures=80)
    assert float(bounds.lower.log_px.mean()) <= float(target.log_px.mean()) + 0.02
    assert float(bounds.upper.log_px.mean()) >= float(target.log_px.mean()) - 0.02
    assert float(bounds.width.mean()) < 0.5


def test_bracket_is_closed_with_an_exact_proposal(linear_gaussian):
    target = linear_gaussian(3)
    bounds = bracket(target, target.posterior.sample(), 4, target.posterior, n_temperatures=5)
    torch.testing.assert_close(bounds.lower.log_px, target.log_px)
    torch.testing.assert_close(bounds.upper.log_px, target.log_px)


def test_transition_leaves_the_posterior_as_it_is(linear_gaussian):
    target = linear_gaussian(3, "badly", "biased", n_cells=20)
    path = Path(target, target.q0, n_leapfrog=3)
    point = path.at(target.posterior.sample((2000,)))
    for _ in range(3):
        point, acceptance = path.transition(point, 1.0, torch.full((20,), 0.3).double())
    assert 0.5 < float(acceptance.mean()) <= 1
    moved = point.z - target.posterior.mean
    covariance = torch.einsum("sni,snj->nij", moved, moved) / len(moved)
    want = target.posterior.covariance_matrix
    scale = want.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (covariance - want) / (scale[:, :, None] * scale[:, None, :])
    assert float(error.abs().max()) < 0.15
    assert float((moved.mean(dim=0) / scale).abs().max()) < 0.15


@pytest.mark.parametrize("n", [1, 2, 50])
def test_temperatures(n):
    betas = temperatures(n)
    assert len(betas) == n + 1
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (betas.diff() > 0).all()
    torch.testing.assert_close(betas, 1 - betas.flip(0))


def test_one_temperature_is_importance_sampling(linear_gaussian):
    target = linear_gaussian(2, "well", "biased", n_cells=20)
    estimate = ais(target, 4000, n_temperatures=1)
    assert share_within(estimate, target.log_px, 4) == 1
