"""Cheap steps of the means, on targets whose best posterior is known."""

import pytest
import torch
from torch.distributions import Independent, Normal

from lucidvi.inference import NormalPosterior, step_means


def exact(target):
    """Posterior mean and factor of the covariance."""
    posterior = target.posterior
    return posterior.mean, torch.linalg.cholesky(posterior.covariance_matrix)


def test_one_step_arrives_where_the_covariance_is_right(linear_gaussian):
    """The joint is quadratic, so antithetic draws give the exact gradient of its mean."""
    target = linear_gaussian(4)
    loc, factor = exact(target)
    factor = factor.expand(len(loc), -1, -1)
    start = loc + 0.5 * factor.diagonal(dim1=-2, dim2=-1)
    found = step_means(target, NormalPosterior(start, factor))
    torch.testing.assert_close(found.loc, loc, rtol=1e-6, atol=1e-6)
    assert found.scale_tril is factor


def test_steps_are_short(linear_gaussian):
    target = linear_gaussian(4)
    loc, factor = exact(target)
    factor = factor.expand(len(loc), -1, -1)
    far = loc + 1e3
    found = step_means(target, NormalPosterior(far, factor))
    whitened = torch.linalg.solve_triangular(factor, (found.loc - far)[..., None], upper=False)
    torch.testing.assert_close(
        whitened.squeeze(-1).norm(dim=-1), torch.full((len(loc),), 2.0, dtype=loc.dtype)
    )


@pytest.mark.parametrize("n_steps", [1, 5])
def test_steps_raise_the_elbo_on_average(linear_gaussian, n_steps):
    target = linear_gaussian(6, encoder="biased")
    first = NormalPosterior.from_distribution(target.q0)
    draws = torch.randn(200, 6, dtype=torch.float64)
    gain = step_means(target, first, n_steps).elbo(target, draws) - first.elbo(target, draws)
    assert gain.mean() > 0.5


def test_starts_from_any_distribution_with_moments():
    q = Independent(Normal(torch.zeros(3, 2), torch.full((3, 2), 2.0)), 1)
    flow_like = type("Flow", (), {"mean": q.mean, "stddev": q.stddev})()
    first = NormalPosterior.from_distribution(flow_like)
    torch.testing.assert_close(first.scale, q.stddev)
