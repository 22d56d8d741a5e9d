"""Semi-amortized inference: each cell's own posterior, from the encoder's as a first guess."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lucidvi.errors import check_choice
from lucidvi.inference._draws import orthogonal_draws
from lucidvi.inference._normal import FAMILIES, NormalPosterior
from lucidvi.inference._target import Target

#: Draws of a standard normal on which a cell is optimised, and others on which it is checked.
N_DRAWS, N_CHECK = 16, 32
#: A cell is done once a step promises less than this, in nats.
TOLERANCE = 0.01
MAX_STEPS = 20
#: A cell is given up once its steps have been shortened to this share without an improvement.
SHORTEST = 1 / 64
#: A step widens no direction's variance by more than this factor.
WIDEST = 20.0


@dataclass(frozen=True)
class Refined:
    """Refined posteriors of the cells of a target.

    Parameters
    ----------
    posterior
        The refined posteriors.
    elbo_before, elbo
        Evidence lower bound of the first guess and of the refined posterior on the same fixed
        draws, in nats, shape ``(n_cells,)``; ``elbo`` is never the smaller one.
    n_steps
        Steps that each cell took, shape ``(n_cells,)``.
    """

    posterior: NormalPosterior
    elbo_before: Tensor
    elbo: Tensor
    n_steps: Tensor


def refine(
    target: Target,
    family: Literal["diagonal", "full"] = "diagonal",
    *,
    n_draws: int = N_DRAWS,
    n_check: int = N_CHECK,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
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
    the fixed draws is taken back and shortened; a cell whose next step promises less than the
    tolerance leaves the working set. At the end each cell is checked on other draws, and one that
    came out worse gets its first guess back.

    Parameters
    ----------
    target
        The cells; the first guess is ``target.q0``, a normal.
    family
        ``"diagonal"`` or ``"full"`` covariance.
    n_draws, n_check
        Least number of draws to optimise and to check on, see :func:`orthogonal_draws`.
    tolerance
        Expected improvement below which a cell is done, in nats.
    max_steps
        Most steps a cell.

    References
    ----------
    Kim et al., ICML (2018), Semi-amortized variational autoencoders. Khan and Rue, JMLR 24
    (2023), The Bayesian learning rule. Lin et al., ICML (2019), Stein's lemma for the
    reparameterization trick with exponential family mixtures.
    """
    check_choice("family", family, FAMILIES)
    first = NormalPosterior.from_distribution(target.q0)
    draws = orthogonal_draws(n_draws, target.n_latent).to(first.loc)
    posterior, n_steps = _optimise(target, first, family, draws, tolerance, max_steps)
    check = orthogonal_draws(n_check, target.n_latent, seed=1)
    before, after = first.elbo(target, check), posterior.elbo(target, check)
    better = after >= before
    return Refined(
        posterior.where(better, first), before, torch.where(better, after, before), n_steps
    )


def _optimise(
    target: Target,
    first: NormalPosterior,
    family: str,
    draws: Tensor,
    tolerance: float,
    max_steps: int,
) -> tuple[NormalPosterior, Tensor]:
    """Take steps until every cell is done; return the posteriors and the steps of each cell."""
    loc, scale_tril = first.loc.clone(), first.scale_tril.clone()
    n_steps = torch.zeros(len(loc), dtype=torch.int64, device=loc.device)
    cells = torch.arange(len(loc), device=loc.device)
    state = _State.at(target, first, draws, loc.new_ones(len(loc)))
    for _ in range(max_steps):
        proposal, promise = state.step(family)
        active = (promise >= tolerance) & (state.share > SHORTEST)
        if not active.all():
            cells, target = cells[active], target.select(active.nonzero().squeeze(-1))
            state, proposal = state.select(active), proposal.select(active)
        if len(cells) == 0:
            break
        state = state.accept(_State.at(target, proposal, draws, state.share))
        loc[cells], scale_tril[cells] = state.posterior.loc, state.posterior.scale_tril
        n_steps[cells] += 1
    return NormalPosterior(loc, scale_tril), n_steps


@dataclass(frozen=True)
class _State:
    """Where the cells in the working set are, and what their next step needs.

    In whitened coordinates, in which the posterior is a standard normal: the ``gradient``
    ``(n_cells, n_latent)`` and the ``curvature`` ``(n_cells, n_latent, n_latent)`` of the log
    joint, smoothed. ``share`` is the length of the next step, 1 for all of it.
    """

    posterior: NormalPosterior
    elbo: Tensor
    gradient: Tensor
    curvature: Tensor
    share: Tensor

    @classmethod
    def at(
        cls, target: Target, posterior: NormalPosterior, draws: Tensor, share: Tensor
    ) -> _State:
        value, gradient = target.evaluate_with_gradient(posterior.at(draws))
        whitened = torch.einsum("nij,sni->snj", posterior.scale_tril, gradient)
        curvature = torch.einsum("si,snj->nij", draws, whitened) / -len(draws)
        return cls(
            posterior,
            value.mean(dim=0) + posterior.entropy,
            whitened.mean(dim=0),
            (curvature + curvature.mT) / 2,
            share,
        )

    def step(self, family: str) -> tuple[NormalPosterior, Tensor]:
        """Return the next posteriors, and what a whole step promises in nats, ``(n_cells,)``."""
        values, vectors = torch.linalg.eigh(self.curvature)
        # A direction that curves the wrong way is a way out of a saddle, not to be turned round.
        values = values.abs().clamp(min=1 / WIDEST)
        scale_tril = self.posterior.scale_tril
        outward = scale_tril @ vectors
        inward = torch.linalg.solve_triangular(scale_tril.mT, vectors, upper=True)
        covariance = (outward / values[:, None]) @ outward.mT
        precision = (inward * values[:, None]) @ inward.mT
        best = NormalPosterior(self.posterior.loc, FAMILIES[family](covariance, precision))

        along = torch.einsum("nij,ni->nj", vectors, self.gradient)
        shift = torch.einsum("nij,nj->ni", outward, along / values)
        by_loc = along.square() / values
        by_scale = (
            values - 1 + 2 * (best.entropy - self.posterior.entropy)[:, None] / len(values.T)
        )
        share = self.share[:, None]
        shortened = torch.lerp(scale_tril, best.scale_tril, share[:, None])
        proposal = NormalPosterior(self.posterior.loc + share * shift, shortened)
        return proposal, (by_loc + by_scale).sum(dim=-1) / 2

    def accept(self, other: _State) -> _State:
        """Go on from the other state where it is better, else from this one by a shorter step."""
        better = other.elbo >= self.elbo
        share = torch.where(better, (self.share * 2).clamp(max=1.0), self.share / 4)
        return _State(
            other.posterior.where(better, self.posterior),
            torch.where(better, other.elbo, self.elbo),
            torch.where(better[:, None], other.gradient, self.gradient),
            torch.where(better[:, None, None], other.curvature, self.curvature),
            share,
        )

    def select(self, cells: Tensor) -> _State:
        return replace(
            self,
            posterior=self.posterior.select(cells),
            **{
                name: getattr(self, name)[cells]
                for name in ("elbo", "gradient", "curvature", "share")
            },
        )
