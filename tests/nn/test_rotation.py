"""Turned posteriors against torch's multivariate normal."""

import pytest
import torch
from scipy.stats import ortho_group
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from lucidvi.nn import (
    FlowEncoder,
    FullNormal,
    StandardNormal,
    divergence,
    log_density,
    rotated,
    stop_gradient,
)

N_CELLS, N_LATENT = 6, 4
ROTATION = torch.tensor(ortho_group.rvs(N_LATENT, random_state=0)).float()


def posterior(kind):
    torch.manual_seed(0)
    loc, scale = torch.randn(N_CELLS, N_LATENT), torch.rand(N_CELLS, N_LATENT) + 0.1
    if kind == "diagonal":
        return Normal(loc, scale), scale.diag_embed()
    factor = torch.tril(torch.randn(N_CELLS, N_LATENT, N_LATENT), -1) + scale.diag_embed()
    return FullNormal(loc, factor), factor


def expected(q, factor):
    rotation, factor = ROTATION.double(), factor.double()
    covariance = rotation.mT @ factor @ factor.mT @ rotation
    return MultivariateNormal(q.loc.double() @ rotation, covariance)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_turned_normal(kind):
    q, factor = posterior(kind)
    turned, want = rotated(q, ROTATION), expected(q, factor)
    torch.testing.assert_close(turned.loc, want.loc.float())
    torch.testing.assert_close(turned.covariance_matrix, want.covariance_matrix.float())
    torch.testing.assert_close(turned.scale, want.stddev.float())
    z = torch.randn(3, N_CELLS, N_LATENT)
    density = want.log_prob(z.double()).float()
    torch.testing.assert_close(turned.log_prob(z), density, rtol=1e-4, atol=1e-4)
    pz = StandardNormal(None)(q.loc, {}, None)
    standard = MultivariateNormal(torch.zeros_like(want.loc), torch.eye(N_LATENT).double())
    exact = kl_divergence(want, standard).float()
    torch.testing.assert_close(divergence(turned, pz, z), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_draws_are_those_of_the_normal_turned(kind):
    q, _ = posterior(kind)
    turned = rotated(q, ROTATION)
    torch.manual_seed(1)
    z = q.rsample((5,))
    torch.manual_seed(1)
    again = turned.rsample((5,))
    torch.testing.assert_close(again, z @ ROTATION)
    torch.testing.assert_close(turned.log_prob(again), log_density(q, z), rtol=1e-4, atol=1e-4)
    draws = turned.sample((20_000,))
    spread = (draws - turned.loc).movedim(0, -1)
    torch.testing.assert_close(
        spread @ spread.mT / 20_000, turned.covariance_matrix, rtol=0.05, atol=0.05
    )


def test_divergence_of_widely_different_variances_keeps_its_digits():
    """Variances of 1e-4 beside 1, as of axes in use beside others."""
    scale = torch.tensor([[0.01, 0.012, 1.0, 1.0]])
    q = Normal(torch.zeros(1, 4), scale)
    pz = Normal(torch.zeros(1, 4), torch.ones(1, 4))
    want = kl_divergence(q, pz).sum(dim=-1)
    z = torch.zeros(1, 4)
    torch.testing.assert_close(divergence(rotated(q, ROTATION), pz, z), want, rtol=1e-6, atol=1e-5)


def test_gradients_reach_the_encoder_and_can_be_stopped():
    loc = torch.zeros(N_CELLS, N_LATENT, requires_grad=True)
    scale = torch.ones(N_CELLS, N_LATENT, requires_grad=True)
    turned = rotated(Normal(loc, scale), ROTATION)
    z = turned.rsample()
    (z.square().sum() + turned.scale_tril.sum()).backward()
    assert loc.grad.abs().sum() > 0
    assert scale.grad.abs().sum() > 0
    stopped = stop_gradient(turned)
    assert not stopped.log_prob(torch.ones(N_CELLS, N_LATENT)).requires_grad
    point = torch.randn(N_CELLS, N_LATENT)
    torch.testing.assert_close(stopped.log_prob(point), turned.log_prob(point).detach())


def test_turned_flow():
    torch.manual_seed(0)
    encoder = FlowEncoder(5, N_LATENT, n_hidden=8).eval()
    for transform in encoder.transforms:
        for weight in transform.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    x = torch.rand(N_CELLS, 5)
    with torch.no_grad():
        q = encoder(x)
        turned = rotated(rotated(q, ROTATION), ROTATION)
        both = ROTATION @ ROTATION
        torch.manual_seed(1)
        z = q.rsample((7,))
        torch.manual_seed(1)
        again = turned.rsample((7,))
        torch.testing.assert_close(again, z @ both, rtol=1e-4, atol=1e-5)
        fresh = encoder(x)
        want = fresh.log_prob(z.clone())
        # Remembered from the draw, computed anew, of some cells, and with weights as constants.
        torch.testing.assert_close(turned.log_prob(again), want, rtol=1e-4, atol=1e-4)
        again = again.clone()
        torch.testing.assert_close(turned.log_prob(again), want, rtol=1e-4, atol=1e-4)
        some = torch.tensor([4, 1])
        density = turned.select(some).log_prob(again[:, some])
        torch.testing.assert_close(density, want[:, some], rtol=1e-4, atol=1e-4)
        density = stop_gradient(turned).log_prob(again)
        torch.testing.assert_close(density, want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(turned.loc, q.loc @ both, rtol=1e-4, atol=1e-5)
        draws = turned.sample((5_000,))
        torch.testing.assert_close(draws.mean(0), turned.loc, rtol=0.1, atol=0.1)


def test_an_unknown_posterior():
    with pytest.raises(NotImplementedError, match="Independent cannot be turned"):
        rotated(Independent(Normal(torch.zeros(2), torch.ones(2)), 1), torch.eye(2))
