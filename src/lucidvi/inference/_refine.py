"""Semi-amortized inference: each cell's own posterior, from the encoder's as a first guess."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lucidvi._brief import brief
from lucidvi.checks import check_choice
from lucidvi.inference._climb import climb
from lucidvi.inference._natural_gradient import State, Step
from lucidvi.inference._normal import FAMILIES, NormalPosterior
from lucidvi.inference._target import Target
from lucidvi.nn import orthogonal_draws

#: Draws of a standard normal on which a cell is optimised, and others on which it is checked.
N_DRAWS, N_CHECK = 16, 32
#: A cell that gained less than this, in nats, may owe it to the draws it was optimised on. On
#: PBMC the gain on those and on fresh draws differ by 0.1 nats (standard deviation).
DOUBTFUL = 0.5
#: A cell takes its last step once a step promises less than this, in nats.
TOLERANCE = 1.0
#: A cell whose first step promises more than this, in nats, climbs to the mode first.
FAR = 4.0
MAX_STEPS = 20
#: A cell is given up once its steps have been shortened to this share without an improvement.
SHORTEST = 1 / 64


@dataclass(frozen=True)
class Refined:
    """Refined posteriors of the cells of a target.

    Parameters
    ----------
    posterior
        The refined posteriors.
    elbo_before, elbo
        Evidence lower bound of the first guess and of the refined posterior on the same fixed
        draws, those of the optimisation, in nats, shape ``(n_cells,)``; ``elbo`` is never the
        smaller one.
    n_steps
        Steps that each cell took, shape ``(n_cells,)``.
    """

    posterior: NormalPosterior
    elbo_before: Tensor
    elbo: Tensor
    n_steps: Tensor

    __repr__ = brief


def refine(
    target: Target,
    family: Literal["diagonal", "full"] = "diagonal",
    *,
    n_draws: int = N_DRAWS,
    n_check: int = N_CHECK,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    first: NormalPosterior | None = None,
) -> Refined:
    r"""Maximize the ELBO of each cell over a normal of its own, the decoder fixed.

    A natural gradient step on :math:`q = \mathrm{Normal}(m, L L^\top)`: with the means over
    fixed draws :math:`\epsilon` and :math:`z = m + L \epsilon`

    .. math::
        g &= \mathrm{E}[\nabla \log p(x, z)] \\
        H &= -\mathrm{E}[\nabla^2 \log p(x, z)]
           = -\mathrm{E}[L^{-\top} \epsilon \, \nabla \log p(x, z)^\top]
           \quad \text{(Stein's identity)} \\
        m &\leftarrow m + H^{-1} g, \quad (L L^\top)^{-1} \leftarrow H

    (of ``"diagonal"``, the diagonal of :math:`H`), which is Newton's method on a smoothed log
    joint and arrives in one step where that is quadratic. A step that lowers the cell's ELBO on
    the fixed draws is taken back and shortened; where the first one promises much, the mean goes
    to the mode instead, which takes fewer draws. A cell whose next step promises less than the
    tolerance leaves the working set, and takes that step as its last. A cell that gained little
    is checked on other draws at the end, and gets its first guess back if it came out worse.

    Parameters
    ----------
    target
        The cells.
    family
        ``"diagonal"`` or ``"full"`` covariance.
    n_draws, n_check
        Least number of draws to optimise and to check on, see :func:`orthogonal_draws`.
    tolerance
        Expected improvement below which a step is a cell's last, in nats. Newton's method about
        squares what is left to gain, so that far less than the tolerance is left.
    max_steps
        Most steps a cell.
    first
        The first guess; by default the normal ``target.q0``.

    References
    ----------
    Kim et al., ICML (2018), Semi-amortized variational autoencoders. Khan and Rue, JMLR 24
    (2023), The Bayesian learning rule. Lin et al., ICML (2019), Stein's lemma for the
    reparameterization trick with exponential family mixtures.
    """
    check_choice("family", family, FAMILIES)
    first = NormalPosterior.from_distribution(target.q0) if first is None else first
    draws = orthogonal_draws(n_draws, target.n_state).to(first.loc)
    refined = _optimise(target, first, family, draws, tolerance, max_steps)
    doubtful = (refined.elbo - refined.elbo_before < DOUBTFUL).nonzero().squeeze(-1)
    if len(doubtful) == 0:
        return refined
    check = orthogonal_draws(n_check, target.n_state, seed=1)
    some = target.select(doubtful)
    before = first.select(doubtful).elbo(some, check)
    worse = torch.zeros_like(refined.elbo, dtype=torch.bool)
    worse[doubtful] = refined.posterior.select(doubtful).elbo(some, check) < before
    return replace(
        refined,
        posterior=first.where(worse, refined.posterior),
        elbo=torch.where(worse, refined.elbo_before, refined.elbo),
    )


def _optimise(
    target: Target,
    first: NormalPosterior,
    family: str,
    draws: Tensor,
    tolerance: float,
    max_steps: int,
) -> Refined:
    """Take steps until every cell is done, and a last, whole one."""
    whole = target
    accepted = NormalPosterior(first.loc.clone(), first.scale_tril.clone())
    last = NormalPosterior(first.loc.clone(), first.scale_tril.clone())
    cells = torch.arange(len(first.loc), device=first.loc.device)
    n_steps = torch.zeros_like(cells)
    state = State.at(target, first, draws)
    before, elbo = state.elbo, state.elbo.clone()
    for i in range(max_steps):
        step = state.step(family)
        last.put(cells, step.whole)
        active = (step.promise >= tolerance) & (state.share > SHORTEST)
        if not active.all():
            cells, target = cells[active], target.select(active.nonzero().squeeze(-1))
            state, step = state.select(active), step.select(active)
        if len(cells) == 0:
            break
        proposal = step.proposal if i > 0 else _nearer(target, state, step)
        state = state.accept(State.at(target, proposal, draws))
        accepted.put(cells, state.posterior)
        elbo[cells] = state.elbo
        n_steps[cells] += 1
    elbo_last = last.elbo(whole, draws)
    better = elbo_last > elbo
    elbo = torch.where(better, elbo_last, elbo)
    return Refined(last.where(better, accepted), before, elbo, n_steps + better)


def _nearer(target: Target, state: State, step: Step) -> NormalPosterior:
    """Return a step's proposals, of cells with far to go at the modes of their log joint."""
    far = (step.promise >= FAR).nonzero().squeeze(-1)
    if len(far) == 0:
        return step.proposal
    some = state.select(far)
    here = some.posterior
    modes = climb(target.select(far), here.loc, here.scale_tril, some.covariance)
    return NormalPosterior(step.proposal.loc.index_copy(0, far, modes), step.proposal.scale_tril)
