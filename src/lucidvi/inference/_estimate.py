"""What importance weights say of log p(x), and whether to believe them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lucidvi._brief import brief
from lucidvi.inference._tails import normal_k, pareto_k_hat

#: An estimate is trusted up to this Pareto k, or less with few weights; above, the variance of the
#: mean is so large that neither it nor its error is known.
K_HAT_MAX = 0.7
#: An estimate is trusted with at least this effective sample size, and this share of its weights:
#: with fewer, the largest weight that was not drawn matters.
EFFECTIVE_MIN, EFFECTIVE_SHARE = 10.0, 0.05
#: Rounding errors that the log of a weight may add up.
ROUNDINGS = 4.0


@dataclass(frozen=True)
class Estimate:
    r"""Estimates of :math:`\log p(x)` of several cells, in nats, each of shape ``(n_cells,)``.

    Parameters
    ----------
    log_px
        The estimate :math:`\log \frac{1}{K} \sum_k w_k`, in expectation a lower bound.
    standard_error
        Monte Carlo standard error of the log, by the delta method, and no less than the rounding
        error of the weights.
    effective_sample_size
        :math:`(\sum w)^2 / \sum w^2`, which is :math:`K` where all weights are equal.
    k_hat
        Pareto shape of the largest weights. Minus infinity where all are equal, NaN where there
        are too few to tell.
    k_normal
        The same from a quadratic fit to the log weights, see :func:`normal_k`; NaN where the
        draws are not known or too few.
    n_weights
        Number of weights :math:`K`.
    """

    log_px: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    k_hat: Tensor
    k_normal: Tensor
    n_weights: Tensor

    __repr__ = brief

    @classmethod
    def from_log_weights(cls, log_weights: Tensor, draws: Tensor | None = None) -> Estimate:
        """Estimate from log importance weights.

        Parameters
        ----------
        log_weights
            Shape ``(n_weights, n_cells)``, in nats.
        draws
            The draws that they belong to, brought to a standard normal, if the proposal is
            normal, shape ``(n_weights, n_cells, n_latent)``.

        References
        ----------
        Burda et al., ICLR (2016), Importance weighted autoencoders.
        """
        k_hat = pareto_k_hat(log_weights).to(log_weights.device)
        unknown = torch.full_like(k_hat, torch.nan)
        precision = torch.finfo(log_weights.dtype).eps
        log_weights = log_weights.double()
        n = len(log_weights)
        total = log_weights.logsumexp(dim=0)
        log_px = total - math.log(n)
        effective = (2 * total - (2 * log_weights).logsumexp(dim=0)).exp()
        variance = ((1 / effective - 1 / n) * n / max(1, n - 1)).clamp(min=0)
        rounding = ROUNDINGS * precision * log_px.abs()
        return cls(
            log_px=log_px,
            standard_error=(variance + rounding.square()).sqrt(),
            effective_sample_size=effective,
            k_hat=k_hat,
            k_normal=unknown if draws is None else normal_k(log_weights, draws),
            n_weights=torch.full_like(k_hat, n),
        )

    def controlled(self, log_weights: Tensor, log_control: Tensor) -> Estimate:
        r"""Return the estimates with less error, by a control variate of known mean.

        .. math::
            \hat p = \frac{1}{K} \sum_k w_k - \beta \left(\frac{1}{K} \sum_k c_k - 1\right),
            \quad \beta = \frac{\operatorname{Cov}(w, c)}{\operatorname{Var} c}

        with ratios :math:`c_k` of another density to the proposal's, whose mean is one. Where that
        density is the posterior, weights are multiples of the ratios, and the estimate is exact.
        Cells of which that gives no smaller error keep their estimate.

        Parameters
        ----------
        log_weights
            The weights, shape ``(n_weights, n_cells)``, in nats.
        log_control
            Logs of the ratios, of the same shape.

        References
        ----------
        Owen and Zhou, Journal of the American Statistical Association 95 (2000), Safe and
        effective importance sampling.
        """
        precision = torch.finfo(log_weights.dtype).eps
        log_weights, control = log_weights.double(), log_control.double().exp()
        largest = log_weights.amax(dim=0)
        weights = (log_weights - largest).exp()
        n = len(weights)
        centred, deviation = control - control.mean(dim=0), weights - weights.mean(dim=0)
        slope = (deviation * centred).sum(dim=0) / centred.square().sum(dim=0).clamp(min=1e-300)
        mean = weights.mean(dim=0) - slope * (control.mean(dim=0) - 1)
        residual = (deviation - slope * centred).square().sum(dim=0) / (n * max(1, n - 2))
        log_px = mean.clamp(min=1e-300).log() + largest
        rounding = ROUNDINGS * precision * log_px.abs()
        error = (residual / mean.square() + rounding.square()).sqrt()
        better = (mean > 0) & (error < self.standard_error)
        return replace(
            self,
            log_px=torch.where(better, log_px, self.log_px),
            standard_error=torch.where(better, error, self.standard_error),
        )

    @property
    def is_trusted(self) -> Tensor:
        r"""Whether estimate and error are to be believed, shape ``(n_cells,)``.

        They are where the effective sample size is at least 10 and 5 % of :math:`K`, and both
        :math:`k` are below :math:`\min(1 - 1 / \log_{10} K, 0.7)`, or not known.
        """
        limit = (1 - 1 / self.n_weights.clamp(min=2).log10()).clamp(max=K_HAT_MAX)
        light = ~(self.k_hat >= limit) & ~(self.k_normal >= limit)
        least = (EFFECTIVE_SHARE * self.n_weights).clamp(min=EFFECTIVE_MIN)
        return light & (self.effective_sample_size >= least)

    @classmethod
    def concatenate(cls, parts: list[Estimate]) -> Estimate:
        """Join the estimates of several minibatches."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(part, name).cpu() for part in parts]) for name in names))

    def replaced(self, cells: Tensor, others: Estimate) -> Estimate:
        """Return the estimates with those of some cells, by position, replaced by others."""
        names = [field.name for field in fields(self)]
        return Estimate(
            *(getattr(self, name).index_copy(0, cells, getattr(others, name)) for name in names)
        )
