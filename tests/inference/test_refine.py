"""Refinement against the exact posterior, and what it must never do."""

import pytest
import torch
from torch.distributions import Gamma, Independent, Normal

from lucidvi.errors import DataError
from lucidvi.inference import NormalPosterior, Target, orthogonal_draws, refine

CASES = [
    (n_latent, condition, encoder)
    for n_latent in (2, 10, 50)
    for condition in ("well", "badly")
    for encoder in ("exact", "biased", "narrow")
]


def whitened(target, posterior):
    """Errors of mean and covariance, in the exact posterior's own scale."""
    factor = target.posterior.scale_tril
    shift = (posterior.loc - target.posterior.loc).unsqueeze(-1)
    loc = torch.linalg.solve_triangular(factor, shift, upper=False)
    root = torch.linalg.solve_triangular(factor, posterior.scale_tril, upper=False)
    identity = torch.eye(target.n_state, dtype=root.dtype)
    return float(loc.abs().max()), float((root @ root.mT - identity).abs().max())


@pytest.mark.parametrize(("n_latent", "condition", "encoder"), CASES)
def test_full_covariance_is_the_exact_posterior(linear_gaussian, n_latent, condition, encoder):
    target = linear_gaussian(n_latent, condition, encoder)
    refined = refine(target, "full")
    loc, covariance = whitened(target, refined.posterior)
    assert loc < 0.01
    assert covariance < 0.01
    torch.testing.assert_close(refined.elbo, target.log_px, atol=0.01, rtol=0)


@pytest.mark.parametrize(("n_latent", "condition", "encoder"), CASES)
def test_diagonal_is_the_best_one(linear_gaussian, n_latent, condition, encoder):
    target = linear_gaussian(n_latent, condition, encoder)
    refined = refine(target)
    gain = refined.elbo - refined.elbo_before
    torch.testing.assert_close(gain, target.amortization_gap, atol=0.05, rtol=0)
    best = target.log_px - target.approximation_gap
    torch.testing.assert_close(refined.elbo, best, atol=0.05, rtol=0)
    off_diagonal = refined.posterior.scale_tril.tril(-1)
    assert not off_diagonal.any()


class Wiggly(Target):
    """A log joint far from quadratic: Newton's whole steps lead astray."""

    def __init__(self, q0):
        self.q0, self.n_state = q0, q0.event_shape[0]
        loc = torch.zeros(q0.batch_shape + q0.event_shape)
        self.prior = Independent(Normal(loc, 1.0), 1)

    def log_joint(self, z):
        rate = (2 * z.sum(dim=-1)).clamp(max=30).exp()
        return self.prior.log_prob(z) + 3 * torch.sin(3 * z).sum(dim=-1) - rate

    def select(self, cells):
        base = self.q0.base_dist
        return Wiggly(Independent(Normal(base.loc[cells], base.scale[cells]), 1))


def test_no_cell_is_worse_than_it_was():
    loc = 2 * torch.randn(300, 3)
    scale = Gamma(2.0, 4.0).sample((300, 3)) + 0.05
    target = Wiggly(Independent(Normal(loc, scale), 1))
    refined = refine(target)
    assert (refined.elbo >= refined.elbo_before).all()
    draws = orthogonal_draws(2000, 3, seed=9)
    before = NormalPosterior(loc, scale.diag_embed()).elbo(target, draws)
    after = refined.posterior.elbo(target, draws)
    z = refined.posterior.at(draws)
    error = (target.evaluate(z).std(dim=0) / len(draws) ** 0.5).clamp(min=0.01)
    assert ((after - before) / error > -3).double().mean() > 0.98
    assert float((after - before).mean()) > 3


def test_cells_do_not_depend_on_each_other(linear_gaussian):
    target = linear_gaussian(4, "badly", "narrow")
    cells = torch.tensor([3, 17, 8])
    alone, together = refine(target.select(cells)), refine(target)
    torch.testing.assert_close(alone.posterior.loc, together.posterior.loc[cells])
    torch.testing.assert_close(alone.elbo, together.elbo[cells])
    assert torch.equal(alone.n_steps, together.n_steps[cells])


def test_a_cell_that_is_right_stays(linear_gaussian):
    target = linear_gaussian(4, "badly", "exact")
    refined = refine(target)
    torch.testing.assert_close(refined.posterior.loc, target.q0.mean)
    torch.testing.assert_close(refined.posterior.scale, target.q0.stddev)


def test_no_steps(linear_gaussian):
    target = linear_gaussian(4)
    refined = refine(target, max_steps=0)
    torch.testing.assert_close(refined.posterior.loc, target.q0.mean)


def test_what_cannot_be_refined(linear_gaussian):
    target = linear_gaussian(2)
    with pytest.raises(
        DataError, match=r"`family` is 'flow'; it must be one of 'diagonal', 'full'\."
    ):
        refine(target, "flow")
