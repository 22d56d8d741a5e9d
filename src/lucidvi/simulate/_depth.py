r"""Counts at another depth: fewer by thinning, more by what the observed ones predict."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lucidvi.distributions import (
    CountLikelihood,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)

#: Log odds of what does not happen, of a size that formulas in float32 bear.
NEVER = -30.0


def thinned(x: Tensor, kept: Tensor) -> Tensor:
    """Keep each count with its cell's probability.

    Parameters
    ----------
    x
        Counts, dense, shape ``(n_cells, n_genes)``.
    kept
        Probabilities, shape ``(n_cells, 1)``.
    """
    return torch.binomial(x, kept.to(x).expand_as(x))


def further_counts(px: CountLikelihood, x: Tensor, exposure: Tensor) -> CountLikelihood:
    r"""Distribution of the counts that more sequencing of the same cells adds.

    A negative binomial is a Poisson whose rate is gamma distributed, so that the rate of an
    observed count has a gamma distribution too: per unit of the exposure that was spent, with mean
    :math:`\mu` and inverse dispersion :math:`\theta`,

    .. math::
        \lambda \mid x &\sim \mathrm{Gamma}(\theta + x, \; 1 + \theta / \mu) \\
        x^\text{new} \mid x &\sim \mathrm{Poisson}(r \lambda)
            = \mathrm{NB}\left(r \mu \frac{\theta + x}{\theta + \mu}, \; \theta + x\right)

    for an additional exposure of :math:`r` times that which was spent. A zero that is inflated
    stays one, with the probability that it is, :math:`\pi / (\pi + (1 - \pi) \mathrm{NB}(0))`;
    where something was counted, nothing is inflated. Under a Poisson likelihood the observed count
    tells nothing.

    Parameters
    ----------
    px
        Likelihood of the observed counts, shape ``(n_cells, n_genes)``.
    x
        The observed counts, dense, of the same shape.
    exposure
        Additional exposure as a multiple :math:`r` of that of ``px``, shape ``(n_cells, 1)``; may
        be zero.

    Returns
    -------
    A likelihood of the same family and shape.
    """
    further = next(found for kind, found in FURTHER.items() if isinstance(px, kind))
    return further(px, x, exposure.to(x).log())


def _poisson(px: Poisson, x: Tensor, log_exposure: Tensor) -> Poisson:
    return Poisson(log_scale=px.log_mu, log_library=log_exposure)


def _negative_binomial(px: NegativeBinomial, x: Tensor, log_exposure: Tensor) -> NegativeBinomial:
    return NegativeBinomial(log_library=log_exposure, **_gamma(px, x))


def _zero_inflated(
    px: ZeroInflatedNegativeBinomial, x: Tensor, log_exposure: Tensor
) -> ZeroInflatedNegativeBinomial:
    # Log odds of inflation at a zero: those before, minus the log probability of such a zero.
    log_zero = -px.theta * torch.log1p((px.log_mu - px.log_theta).exp())
    zi_logits = torch.where(x > 0, NEVER, px.zi_logits - log_zero)
    return ZeroInflatedNegativeBinomial(
        log_library=log_exposure, zi_logits=zi_logits, **_gamma(px, x)
    )


def _gamma(px: NegativeBinomial, x: Tensor) -> dict[str, Tensor]:
    """Mean and shape of each rate, given the count."""
    log_shape = (px.theta + x).log()
    log_mean = px.log_mu + log_shape - torch.logaddexp(px.log_theta, px.log_mu)
    return {"log_scale": log_mean, "log_theta": log_shape}


#: Of each likelihood, first match first.
FURTHER: dict[type, Callable[..., CountLikelihood]] = {
    ZeroInflatedNegativeBinomial: _zero_inflated,
    NegativeBinomial: _negative_binomial,
    Poisson: _poisson,
}
