"""Distributions of states against torch's, of the same numbers as one vector."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from lucidvi.nn import FlowEncoder, FullNormal, StateDistribution, log_density, select_cells

N, N_LATENT = 7, 3


def normal(*shape):
    return Normal(torch.randn(*shape), torch.rand(*shape) + 0.5)


def full():
    lower = torch.randn(N, N_LATENT, N_LATENT).tril(-1)
    diagonal = (torch.rand(N, N_LATENT) + 0.1).diag_embed()
    return FullNormal(torch.randn(N, N_LATENT), lower + diagonal)


def flow():
    return FlowEncoder(4, N_LATENT, n_hidden=8)(torch.rand(N, 4))


KINDS = {"diagonal": lambda: normal(N, N_LATENT), "full": full, "flow": flow}


@pytest.mark.parametrize("n_exposures", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_density_and_moments_are_those_of_the_parts(kind, n_exposures):
    latent = KINDS[kind]()
    exposures = normal(N, n_exposures) if n_exposures else None
    q = StateDistribution(latent, exposures)
    assert (q.batch_shape, q.event_shape) == ((N,), (N_LATENT + n_exposures,))
    state = q.sample((4,))
    want = log_density(latent, state[..., :N_LATENT])
    if exposures is not None:
        want = want + log_density(exposures, state[..., N_LATENT:])
    for distribution in (q, q.as_vector):
        assert distribution.batch_shape == q.batch_shape
        assert distribution.event_shape == q.event_shape
        torch.testing.assert_close(distribution.log_prob(state), want)
        torch.testing.assert_close(distribution.mean, q.mean)
        torch.testing.assert_close(distribution.variance, q.variance)


@pytest.mark.parametrize(
    ("kind", "vector"), [("diagonal", Independent), ("full", MultivariateNormal)]
)
def test_normals_are_one_normal(kind, vector):
    q = StateDistribution(KINDS[kind](), normal(N, 2))
    assert isinstance(q.as_vector, vector)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "cells", [torch.tensor([3, 0, 3]), torch.arange(N) > 4], ids=["positions", "mask"]
)
def test_selected_cells(kind, cells):
    q = StateDistribution(KINDS[kind](), normal(N, 2))
    state = q.sample((4,))
    for distribution in (q, q.as_vector):
        got = select_cells(distribution, cells).log_prob(state[:, cells])
        torch.testing.assert_close(got, distribution.log_prob(state)[:, cells])


def test_draws_are_made_of_one_part_after_the_other():
    q = StateDistribution(normal(N, N_LATENT), normal(N, 2))
    torch.manual_seed(5)
    want = torch.cat([q.latent.sample((2,)), q.log_exposures.sample((2,))], dim=-1)
    torch.manual_seed(5)
    torch.testing.assert_close(q.sample((2,)), want, rtol=0, atol=0)
    q.rsample((2,))
