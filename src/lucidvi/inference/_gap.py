"""How far the encoder's posterior is from the truth, and what the distance consists of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lucidvi.inference._ais import ais
from lucidvi.inference._estimate import Estimate
from lucidvi.inference._refine import refine
from lucidvi.inference._target import Target


@dataclass(frozen=True)
class InferenceGap:
    r"""The distance of :math:`\log p(x)` from the ELBO, in nats, shape ``(n_cells,)``.

    Parameters
    ----------
    elbo
        Evidence lower bound of the encoder's posterior.
    elbo_refined
        That of the cell's own best normal with a diagonal covariance.
    marginal
        Estimate of :math:`\log p(x)`.
    """

    elbo: Tensor
    elbo_refined: Tensor
    marginal: Estimate

    @property
    def amortization_gap(self) -> Tensor:
        """What the encoder loses against the best member of its family."""
        return self.elbo_refined - self.elbo

    @property
    def approximation_gap(self) -> Tensor:
        """What the family itself loses; slightly negative where the two estimates' errors show."""
        return self.marginal.log_px - self.elbo_refined


def inference_gap(target: Target, n_chains: int = 32, n_temperatures: int = 20) -> InferenceGap:
    r"""Measure the amortization and the approximation gap of each cell.

    .. math::
        \log p(x) - \mathrm{ELBO}(q_0)
            = \underbrace{\log p(x) - \max_q \mathrm{ELBO}(q)}_\text{approximation}
            + \underbrace{\max_q \mathrm{ELBO}(q) - \mathrm{ELBO}(q_0)}_\text{amortization}

    with the maximum by :func:`refine` and :math:`\log p(x)` by :func:`ais` that starts from a
    refined normal with a full covariance.

    Parameters
    ----------
    target
        The cells.
    n_chains, n_temperatures
        See :func:`ais`.

    References
    ----------
    Cremer et al., ICML (2018), Inference suboptimality in variational autoencoders.
    """
    best = refine(target, "diagonal")
    marginal = refined_ais(target, n_chains, n_temperatures)
    return InferenceGap(best.elbo_before.double(), best.elbo.double(), marginal)


def refined_ais(target: Target, n_chains: int = 32, n_temperatures: int = 20) -> Estimate:
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
