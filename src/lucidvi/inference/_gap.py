"""How far the encoder's posterior is from the truth, and what the distance consists of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
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
#: The same of cells whose weights could not be trusted, and the share of them all that one weight
#: has at most in what they say of a better normal.
WIDER_AGAIN, LARGEST_SHARE = 1.0, 0.05


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
    :meth:`Estimate.controlled`. Cells whose weights cannot be trusted, see
    :attr:`Estimate.is_trusted`, get other draws, of a wider normal halfway to the mean and
    covariance that the first draws have by their weights; and those of which that is no better
    :func:`ais` from the normal.

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
    weighted, z, log_weights = _weighted(target, start, n_draws, WIDER)
    doubtful = (~weighted.is_trusted).nonzero().squeeze(-1)
    if len(doubtful) == 0:
        return weighted
    some, proposal = target.select(doubtful), start.select(doubtful)
    nearer = _towards(proposal, z[:, doubtful], log_weights[:, doubtful])
    again, *_ = _weighted(some, nearer, n_draws, WIDER_AGAIN)
    weighted = weighted.replaced(doubtful, again)
    left = (~again.is_trusted).nonzero().squeeze(-1)
    if len(left) == 0:
        return weighted
    annealed = ais(
        some.select(left),
        n_chains,
        proposal.select(left).distribution,
        n_temperatures=n_temperatures,
    )
    return weighted.replaced(doubtful[left], annealed)


def _weighted(
    target: Target, start: NormalPosterior, n_draws: int, wider: float
) -> tuple[Estimate, Tensor, Tensor]:
    """Return estimates by draws of wider normals, the draws and their log weights."""
    factor = 1 + wider / math.sqrt(target.n_state)
    q = NormalPosterior(start.loc, start.scale_tril * factor).distribution
    z, log_weights = weighted_draws(target, n_draws, q)
    weighted = Estimate.from_log_weights(log_weights, standardized(q, z))
    log_control = start.distribution.log_prob(z) - q.log_prob(z)
    return weighted.controlled(log_weights, log_control), z, log_weights


def _towards(start: NormalPosterior, z: Tensor, log_weights: Tensor) -> NormalPosterior:
    """Go from normals to the mean and half the way to the covariance of weighted draws."""
    shares = log_weights.double().softmax(dim=0).clamp(max=LARGEST_SHARE)
    shares = shares / shares.sum(dim=0)
    mean = torch.einsum("sn,sni->ni", shares, z.double())
    centred = z.double() - mean
    covariance = torch.einsum("sn,sni,snj->nij", shares, centred, centred)
    before = (start.scale_tril @ start.scale_tril.mT).double()
    factor = torch.linalg.cholesky((covariance + before) / 2)
    return NormalPosterior(mean.to(start.loc), factor.to(start.loc))


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
