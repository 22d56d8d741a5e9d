"""What every encoder's posterior must hold."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lucidvi.nn import ENCODERS, divergence, log_density, stop_gradient

N_CELLS = 6


@pytest.fixture(params=[(name, d) for name in ENCODERS for d in (1, 3)], ids=str)
def encoder(request):
    """An encoder whose every head has been moved from where it starts."""
    name, n_latent = request.param
    torch.manual_seed(1)
    encoder = ENCODERS[name](n_input=5, n_output=n_latent, n_hidden=16)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return encoder.eval()


@pytest.fixture
def q(encoder):
    return encoder(torch.rand(N_CELLS, 5))


def test_density_is_normalized(q):
    """By importance sampling from a wider normal, whose density torch gives."""
    proposal = Normal(q.loc.detach(), 1.5 * q.scale.detach())
    z = proposal.sample((20_000,))
    weights = (log_density(q, z) - log_density(proposal, z)).exp()
    error = weights.std(dim=0) / len(z) ** 0.5
    assert ((weights.mean(dim=0) - 1).abs() < 4 * error + 1e-3).all()


def test_draws_follow_the_density(q):
    """E[p/q] is one for any density p; here the standard normal, on draws of q."""
    z = q.sample((20_000,))
    spread = Normal(q.loc.detach(), 0.7 * q.scale.detach())
    weights = (log_density(spread, z) - log_density(q, z)).exp()
    error = weights.std(dim=0) / len(z) ** 0.5
    assert ((weights.mean(dim=0) - 1).abs() < 4 * error + 1e-3).all()


def test_moments(q):
    z = q.sample((20_000,))
    error = 5 / len(z) ** 0.5
    # A flow's are means over fixed draws.
    slack = 0.05 if type(q).__name__ == "FlowPosterior" else 0.0
    assert q.loc.shape == q.scale.shape == z.shape[1:]
    assert ((z.mean(dim=0) - q.loc).abs() / q.scale < error + slack).all()
    assert ((z.std(dim=0) / q.scale).log().abs() < error + slack).all()


def test_one_draw_and_several(q):
    assert q.rsample().shape == q.loc.shape
    assert q.rsample((2, 3)).shape == (2, 3, *q.loc.shape)


def test_log_density_of_own_draws_is_that_of_any(q):
    z = q.rsample((4,))
    torch.testing.assert_close(log_density(q, z), log_density(q, z.clone()), rtol=1e-4, atol=1e-4)


def test_divergence_from_a_standard_normal(q):
    z = q.sample((20_000,))
    prior = Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))
    log_ratio = log_density(q, z) - log_density(prior, z)
    error = log_ratio.std(dim=0) / len(z) ** 0.5
    got = divergence(q, prior, z)
    got = got.mean(dim=0) if got.ndim > 1 else got
    assert ((got - log_ratio.mean(dim=0)).abs() < 4 * error + 1e-4).all()


def test_gradients_reach_every_weight(encoder):
    q = encoder(torch.rand(N_CELLS, 5))
    z = q.rsample()
    (log_density(q, z) + z.square().sum(dim=-1)).sum().backward()
    unused = {"tril_encoder"} if q.loc.shape[1] == 1 else set()  # nothing is below the diagonal
    for name, weight in encoder.named_parameters():
        if name.split(".")[0] not in unused:
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name


def test_stopped_gradient(encoder):
    x = torch.rand(N_CELLS, 5)
    q = encoder(x)
    z = q.sample((3,)).requires_grad_()
    log_density(q, z).sum().backward()
    want = z.grad.clone()
    z.grad = None
    encoder.zero_grad()
    stopped = log_density(stop_gradient(encoder(x)), z)
    torch.testing.assert_close(stopped, log_density(q, z))
    stopped.sum().backward()
    torch.testing.assert_close(z.grad, want)
    assert all(weight.grad is None for weight in encoder.parameters())
    assert all(weight.requires_grad for weight in encoder.parameters())


def test_nothing_else_can_be_stopped():
    with pytest.raises(NotImplementedError, match="Gamma"):
        stop_gradient(torch.distributions.Gamma(1.0, 1.0))


def test_copies_and_weights(encoder):
    x = torch.rand(N_CELLS, 5)
    twin = copy.deepcopy(encoder)
    for weight in twin.parameters():
        weight.data.zero_()
    twin.load_state_dict(encoder.state_dict())
    z = torch.randn(N_CELLS, encoder(x).loc.shape[1])
    torch.testing.assert_close(log_density(twin(x), z), log_density(encoder(x), z))


@pytest.mark.parametrize("name", ENCODERS)
def test_starts_as_a_diagonal_normal(name):
    encoder = ENCODERS[name](n_input=5, n_output=4).eval()
    x, z = torch.rand(N_CELLS, 5), torch.randn(N_CELLS, 4)
    normal = Normal(*encoder._heads(encoder.encoder(x)))
    torch.testing.assert_close(log_density(encoder(x), z), log_density(normal, z))


def test_divergence_of_normals_is_torchs():
    torch.manual_seed(0)
    first = Normal(torch.randn(7, 3), torch.rand(7, 3) + 0.1)
    second = Normal(torch.randn(7, 3), torch.rand(7, 3) + 0.1)
    want = kl_divergence(first, second).sum(dim=-1)
    torch.testing.assert_close(divergence(first, second, first.sample()), want)
    full = ENCODERS["full"](n_input=2, n_output=3)(torch.rand(7, 2))
    independent = torch.distributions.MultivariateNormal(
        second.loc, scale_tril=second.scale.diag_embed()
    )
    torch.testing.assert_close(
        divergence(full, second, full.loc), kl_divergence(full, independent)
    )


def test_importing_a_flow_leaves_torchs_checks_on():
    """In a process of its own, since the import happens once."""
    code = """
from torch.distributions import Distribution
from lucidvi.nn import ENCODERS
assert Distribution._validate_args
ENCODERS["flow"](n_input=2, n_output=3)
assert Distribution._validate_args
"""
    subprocess.run([sys.executable, "-c", code], check=True)
