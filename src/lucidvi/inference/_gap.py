"""How far the encoder's posterior is from the truth, and what the distance consists of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lucidvi._brief import brief
from lucidvi.inference._ais import ais
from lucidvi.inference._bounds import elbo, weighted_draws
from lucidvi.inference._estimate import Estimate
from lucidvi.inference._normal import NormalPosterior, is_diagonal, is_normal, standardized
from lucidvi.inference._refine import refine
from lucidvi.inference._target import Target
from lucidvi.nn import orthogonal_draws

#: Draws of a refined normal whose weights are enough for most cells: on PBMC the standard error
#: is that of so many chains and temperatures, which the other cells get.
N_DRAWS, N_CHAINS, N_TEMPERATURES = 700, 64, 10
#: By how much the draws are wider than the normal, times the root of the dimension. The best
#: normal is narrower than the posterior, and weights of draws that are too narrow have a tail.
WIDER = 0.5


@dataclass(frozen=True)
class InferenceGap:
    r"""The distance of :math:`\log p(x)` from the ELBO, in nats, shape ``(n_cells,)``.

    Parameters
    ----------
    elbo
        Evidence lower bound of the encoder's posterior.
    elbo_refined
        That of the cell's own best normal, with a diagonal covariance where the encoder's is
        diagonal, else a full one; a flow's own best is not looked for.
    marginal
        Estimate of :math:`\log p(x)`.
    """

    elbo: Tensor
    elbo_refined: Tensor
    marginal: Estimate

    __repr__ = brief

    @property
    def amortization_gap(self) -> Tensor:
        """What the encoder loses against the best member of its family."""
        return self.elbo_refined - self.elbo

    @property
    def approximation_gap(self) -> Tensor:
        """What the family itself loses; slightly negative where the two estimates' errors show."""
        return self.marginal.log_px - self.elbo_refined


def inference_gap(
    target: Target,
    n_chains: int = N_CHAINS,
    n_temperatures: int = N_TEMPERATURES,
    *,
    n_check: int = 64,
    tolerance: float = 0.02,
    n_draws: int = N_DRAWS,
) -> InferenceGap:
    r"""Measure the amortization and the approximation gap of each cell.

    .. math::
        \log p(x) - \mathrm{ELBO}(q_0)
            = \underbrace{\log p(x) - \max_q \mathrm{ELBO}(q)}_\text{approximation}
            + \underbrace{\max_q \mathrm{ELBO}(q) - \mathrm{ELBO}(q_0)}_\text{amortization}

    with the maximum by :func:`refine` and :math:`\log p(x)` by :func:`marginal_near`.

    Parameters
    ----------
    target
        The cells.
    n_chains, n_temperatures
        See :func:`marginal_near`.
    n_check
        Least number of fixed draws on which both ELBOs are taken, see :func:`orthogonal_draws`;
        not those of the optimisation.
    tolerance
        See :func:`refine`; smaller than there, since here the best is asked for.
    n_draws
        See :func:`marginal_near`.

    References
    ----------
    Cremer et al., ICML (2018), Inference suboptimality in variational autoencoders.
    """
    check = orthogonal_draws(n_check, target.n_state, seed=1)
    if is_normal(target.q0):
        first = NormalPosterior.from_distribution(target.q0).elbo(target, check).double()
    else:
        first, _ = elbo(target, n_check)
    family: Literal["diagonal", "full"] = "diagonal" if is_diagonal(target.q0) else "full"
    best = refine(target, family, tolerance=tolerance).posterior
    start = best if family == "full" else refine(target, "full", first=best).posterior
    marginal = marginal_near(target, start, n_draws, n_chains, n_temperatures)
    return InferenceGap(first, best.elbo(target, check).double(), marginal)


def marginal_near(
    target: Target,
    start: NormalPosterior,
    n_draws: int = N_DRAWS,
    n_chains: int = N_CHAINS,
    n_temperatures: int = N_TEMPERATURES,
) -> Estimate:
    r"""Estimate :math:`\log p(x)` from a normal near each posterior.

    By importance sampling from the normal, made wider by a factor of
    :math:`1 + 1 / (2 \sqrt d)`, with the normal as a control variate, see
    :meth:`Estimate.controlled`; and of the cells whose weights cannot be trusted, see
    :attr:`Estimate.is_trusted`, by :func:`ais` from the normal.

    Parameters
    ----------
    target
        The cells.
    start
        The normals.
    n_draws
        Draws a cell.
    n_chains, n_temperatures
        See :func:`ais`.
    """
    factor = 1 + WIDER / math.sqrt(target.n_state)
    wider = NormalPosterior(start.loc, start.scale_tril * factor).distribution
    z, log_weights = weighted_draws(target, n_draws, wider)
    weighted = Estimate.from_log_weights(log_weights, standardized(wider, z))
    log_control = start.distribution.log_prob(z) - wider.log_prob(z)
    weighted = weighted.controlled(log_weights, log_control)
    doubtful = (~weighted.is_trusted).nonzero().squeeze(-1)
    if len(doubtful) == 0:
        return weighted
    proposal = start.select(doubtful).distribution
    some = target.select(doubtful)
    annealed = ais(some, n_chains, proposal, n_temperatures=n_temperatures)
    return weighted.replaced(doubtful, annealed)


def refined_ais(
    target: Target, n_chains: int = N_CHAINS, n_temperatures: int = N_TEMPERATURES
) -> Estimate:
    """Annealed importance sampling from a refined normal with a full covariance.

    So near to the posterior, few temperatures are enough.

    Parameters
    ----------
    target
        The cells.
    n_chains, n_temperatures
        See :func:`ais`.
    """
    start = refine(target, "full").posterior.distribution
    return ais(target, n_chains, start, n_temperatures=n_temperatures)
