"""Annealed importance sampling: log p(x) from below, and for simulated cells from above too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from lucidvi._brief import brief
from lucidvi._progress import track
from lucidvi.inference._estimate import Estimate
from lucidvi.inference._hmc import Path
from lucidvi.inference._target import Target

#: Acceptance that step sizes are adapted to, how fast, their first value and their bounds, in
#: standard deviations of the proposal.
ACCEPTANCE, RATE, FIRST_STEP, STEPS = 0.8, 0.5, 0.4, (1e-4, 3.0)
#: How closely the temperatures crowd at both ends of the path.
CROWDING = 4.0


@dataclass(frozen=True)
class Bracket:
    """Bounds of log p(x) from below and from above, in nats, by :func:`bracket`."""

    lower: Estimate
    upper: Estimate

    __repr__ = brief

    @property
    def width(self) -> Tensor:
        """How far the bounds are apart, in nats, shape ``(n_cells,)``."""
        return self.upper.log_px - self.lower.log_px


def temperatures(n_temperatures: int) -> Tensor:
    r"""Inverse temperatures from 0 to 1, sigmoid in their rank: close at both ends.

    Returns
    -------
    Float64, shape ``(n_temperatures + 1,)``.
    """
    betas = torch.linspace(-CROWDING, CROWDING, n_temperatures + 1, dtype=torch.float64).sigmoid()
    return (betas - betas[0]) / (betas[-1] - betas[0])


def ais(
    target: Target,
    n_chains: int = 32,
    proposal: Distribution | None = None,
    *,
    n_temperatures: int = 50,
    n_leapfrog: int = 3,
    n_pilots: int = 4,
) -> Estimate:
    r"""Annealed importance sampling, with its diagnostics.

    Chains go from the proposal :math:`q` to the posterior along
    :math:`q(z)^{1 - \beta_t} \, p(x, z)^{\beta_t}`, by one transition of Hamiltonian Monte Carlo
    at each temperature, and their weights are unbiased for :math:`p(x)`:

    .. math::
        \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1})
            \left(\log p(x, z_{t-1}) - \log q(z_{t-1})\right)

    The step sizes, one for each cell and temperature, are adapted on a few pilot chains and then
    kept, since weights of chains that adapt to themselves would be biased.

    Parameters
    ----------
    target
        The cells.
    n_chains
        Chains a cell.
    proposal
        The start :math:`q`, of batch shape ``(n_cells,)``: by default ``target.q0``;
        ``target.prior`` for the prior; the nearer to the posterior, the fewer temperatures.
    n_temperatures
        Temperatures :math:`T`.
    n_leapfrog
        Leapfrog steps of a transition.
    n_pilots
        Pilot chains a cell.

    References
    ----------
    Neal, Statistics and Computing 11 (2001), Annealed importance sampling. Wu et al., ICLR
    (2017), On the quantitative analysis of decoder-based generative models.
    """
    path = Path(target, target.q0 if proposal is None else proposal, n_leapfrog)
    betas = temperatures(n_temperatures)
    steps = _adapted_steps(path, betas, n_pilots)
    return Estimate.from_log_weights(_forward(path, betas, steps, n_chains))


def bracket(
    target: Target,
    z: Tensor,
    n_chains: int = 32,
    proposal: Distribution | None = None,
    *,
    n_temperatures: int = 50,
    n_leapfrog: int = 3,
    n_pilots: int = 4,
) -> Bracket:
    r"""Bracket :math:`\log p(x)` of simulated cells by bidirectional Monte Carlo.

    Of a simulated cell the latent state that made it is a draw from its exact posterior. Chains
    that go from there back to the proposal have weights unbiased for :math:`1 / p(x)`, and so
    bound :math:`\log p(x)` from above, in expectation.

    Parameters
    ----------
    target
        Simulated cells.
    z
        The latent states that they were simulated from, shape ``(n_cells, n_latent)``.
    n_chains, proposal, n_temperatures, n_leapfrog, n_pilots
        See :func:`ais`.

    References
    ----------
    Grosse et al., arXiv:1511.02543 (2015), Sandwiching the marginal likelihood using
    bidirectional Monte Carlo.
    """
    path = Path(target, target.q0 if proposal is None else proposal, n_leapfrog)
    betas = temperatures(n_temperatures)
    steps = _adapted_steps(path, betas, n_pilots)
    lower = Estimate.from_log_weights(_forward(path, betas, steps, n_chains))
    inverse = Estimate.from_log_weights(_backward(path, betas, steps, z, n_chains))
    return Bracket(lower, replace(inverse, log_px=-inverse.log_px))


def _adapted_steps(path: Path, betas: Tensor, n_pilots: int) -> Tensor:
    """Step sizes that the pilot chains settled on, ``(n_temperatures - 1, n_cells)``."""
    point = path.at(path.start.sample((n_pilots,)))
    step = torch.full_like(point.log_joint[0], FIRST_STEP)
    steps = []
    for beta in track(betas[1:-1].tolist(), "Adapting steps"):
        point, acceptance = path.transition(point, beta, step)
        step = step * (RATE * (acceptance.mean(dim=0) - ACCEPTANCE)).exp()
        step = step.clamp(*STEPS)
        steps.append(step)
    return torch.stack(steps) if steps else step.new_empty(0, len(step))


def _forward(path: Path, betas: Tensor, steps: Tensor, n_chains: int) -> Tensor:
    """Log weights of chains from the start to the target, ``(n_chains, n_cells)``."""
    point = path.at(path.start.sample((n_chains,)))
    rises = betas.diff().tolist()
    log_weights = rises[0] * (point.log_joint - point.log_start)
    path_up = zip(betas[1:-1].tolist(), rises[1:], steps, strict=True)
    for beta, rise, step in track(path_up, "Annealing", len(steps)):
        point, _ = path.transition(point, beta, step)
        log_weights = log_weights + rise * (point.log_joint - point.log_start)
    return log_weights


def _backward(path: Path, betas: Tensor, steps: Tensor, z: Tensor, n_chains: int) -> Tensor:
    """Log weights of chains from the target to the start, ``(n_chains, n_cells)``."""
    point = path.at(z.expand(n_chains, *z.shape))
    rises = betas.diff().flip(0).tolist()
    log_weights = -rises[0] * (point.log_joint - point.log_start)
    for beta, rise, step in zip(
        betas[1:-1].flip(0).tolist(), rises[1:], steps.flip(0), strict=True
    ):
        point, _ = path.transition(point, beta, step)
        log_weights = log_weights - rise * (point.log_joint - point.log_start)
    return log_weights
