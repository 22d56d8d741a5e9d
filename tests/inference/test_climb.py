"""The climb to the mode: of a quadratic it is known, and no cell ends lower than it began."""

import pytest
import torch
from torch.distributions import Independent, Normal

from lucidvi.inference import NormalPosterior, Target, marginal_near
from lucidvi.inference._climb import climb


class Waves(Target):
    """A log joint with many modes."""

    def __init__(self, q0):
        self.q0, self.n_state = q0, q0.event_shape[0]

    def log_joint(self, z):
        return 3 * torch.sin(3 * z).sum(dim=-1) - z.square().sum(dim=-1) / 2

    def select(self, cells):
        base = self.q0.base_dist
        return Waves(Independent(Normal(base.loc[cells], base.scale[cells]), 1))


@pytest.mark.parametrize(("condition", "most"), [("well", 0.2), ("badly", 1.0)])
def test_mode_of_a_linear_gaussian(linear_gaussian, condition, most):
    target = linear_gaussian(6, condition, "biased")
    first = NormalPosterior.from_distribution(target.q0)
    identity = torch.eye(6, dtype=torch.float64).expand(len(first.loc), -1, -1)
    start = first.loc + 8 * first.scale
    modes = climb(target, start, first.scale_tril, identity)
    lost = target.evaluate(target.posterior.mean[None]) - target.evaluate(modes[None])
    assert float(lost.max()) < most
    before = target.evaluate(target.posterior.mean[None]) - target.evaluate(start[None])
    assert float(before.mean()) > 100


def test_no_cell_ends_lower():
    torch.manual_seed(0)
    loc = 2 * torch.randn(200, 3)
    target = Waves(Independent(Normal(loc, torch.full_like(loc, 0.5)), 1))
    factor = 0.5 * torch.eye(3).expand(200, -1, -1)
    modes = climb(target, loc, factor, torch.eye(3).expand(200, -1, -1))
    gain = (target.evaluate(modes[None]) - target.evaluate(loc[None])).squeeze(0)
    assert (gain >= 0).all()
    assert float(gain.mean()) > 3


def test_cells_whose_weights_cannot_be_trusted_are_annealed(linear_gaussian):
    torch.manual_seed(0)
    target = linear_gaussian(3, "well", "exact", n_cells=30)
    exact = NormalPosterior(target.posterior.loc, target.posterior.scale_tril)
    estimate = marginal_near(target, exact)
    assert (estimate.n_weights == 700).all()
    assert estimate.is_trusted.all()
    error = (estimate.log_px - target.log_px) / estimate.standard_error
    assert float(error.abs().max()) < 4.5
    # Some are only too narrow, which a better normal mends; others nowhere near.
    loc, scale = exact.loc.clone(), exact.scale_tril.clone()
    scale[:10] *= 0.35
    loc[10:20] += 40 * scale[10:20].diagonal(dim1=-2, dim2=-1)
    mixed = marginal_near(target, NormalPosterior(loc, scale), n_temperatures=40)
    assert (mixed.n_weights[:10] == 700).sum() > 7
    assert (mixed.n_weights[10:20] == 64).all()
    assert (mixed.n_weights[20:] == 700).all()
    assert float((mixed.log_px - target.log_px)[:10].abs().max()) < 0.5
    assert float((mixed.log_px - target.log_px)[20:].abs().max()) < 0.5
