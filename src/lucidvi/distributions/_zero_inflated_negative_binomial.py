"""Zero-inflated negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import scvi.distributions
import torch
from torch import Tensor
from torch.nn.functional import softplus

from lucidvi import kernels
from lucidvi.distributions._counts import to_numpy
from lucidvi.distributions._negative_binomial import (
    BY_BATCH,
    DISPERSION,
    NegativeBinomial,
    nb_cumulative,
)
from lucidvi.distributions._parameter import Parameter, Question

#: Log odds of what does not happen, of a size that formulas in float32 bear.
NEVER = -30.0


class ZeroInflatedNegativeBinomial(
    NegativeBinomial, scvi.distributions.ZeroInflatedNegativeBinomial
):
    r"""Negative binomial that is replaced by a zero with probability :math:`\pi`.

    .. math::
        \log p(0) &= \log(\pi + (1 - \pi)\,\mathrm{NB}(0)) \\
        \log p(x) &= \log(1 - \pi) + \log \mathrm{NB}(x), \quad x > 0

    Parameters
    ----------
    logits, log_library, log_theta, log_scale
        See :class:`NegativeBinomial`.
    zi_logits
        Log odds of :math:`\pi`, of a shape that broadcasts to ``(..., n_cells, n_genes)``.

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    family: ClassVar[str] = "zinb"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "log_theta": DISPERSION,
        "zi_logits": Parameter("dropout", by="cell", space="logit", start=-3.0, absent=NEVER),
    }
    without_absent: ClassVar[str | None] = "nb"
    adopts = scvi.distributions.ZeroInflatedNegativeBinomial
    read: ClassVar[Mapping[str, str]] = {"log_theta": "theta", "zi_logits": "zi_logits"}
    questions: ClassVar[tuple[Question, ...]] = (BY_BATCH,)
    questions_by_batch: ClassVar[tuple[Question, ...]] = ()
    tried_by_batch: ClassVar[bool] = False
    at_zero: ClassVar[Callable[..., Tensor]] = staticmethod(kernels.zinb_zero)
    at_count: ClassVar[Callable[..., Tensor]] = staticmethod(kernels.zinb_count)

    @classmethod
    def with_mean(cls, log_mean: Tensor, **parameters: Tensor) -> Self:
        """See :meth:`Likelihood.with_mean`."""
        inflation = softplus(parameters["zi_logits"])
        return super().with_mean(log_mean + inflation, **parameters)

    @property
    def zi_logits(self) -> Tensor:
        """Log odds of inflation, shape ``(..., n_cells, n_genes)``."""
        return self.parameter("zi_logits")

    @property
    def zi_probs(self) -> Tensor:
        """Probability of inflation, shape ``(..., n_cells, n_genes)``."""
        return self.linear("zi_logits")

    @property
    def mean(self) -> Tensor:
        r""":math:`(1 - \pi) \mu`, linear, shape ``(..., n_cells, n_genes)``."""
        return (1 - self.zi_probs) * self.mu

    @property
    def variance(self) -> Tensor:
        r""":math:`(1 - \pi) \mu (1 + \mu / \theta + \pi \mu)`, linear."""
        mu, share = self.mu, self.zi_probs
        return (1 - share) * mu * (1 + mu / self.theta + share * mu)

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts, see :meth:`NegativeBinomial.sample`, and set them to zero by chance."""
        counts = super().sample(sample_shape)
        return counts.masked_fill_(torch.rand_like(counts) <= self.zi_probs, 0.0)

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Likelihood.cumulative`."""
        values = (to_numpy(values, x.shape) for values in (self.mu, self.theta, self.zi_probs))
        return zinb_cumulative(to_numpy(x), *values)

    def further(self, x: Tensor, factor: Tensor) -> ZeroInflatedNegativeBinomial:
        r"""See :meth:`NegativeBinomial.further`.

        A zero that is inflated stays one, with the probability that it is,
        :math:`\pi / (\pi + (1 - \pi) \mathrm{NB}(0))`; where something was counted, nothing is
        inflated.
        """
        log_scale, log_theta = self._rate_given(x)
        # Log odds of inflation at a zero: those before, minus the log probability of such a zero.
        log_zero = -self.theta * torch.log1p((self.log_mean - self.log_theta).exp())
        return ZeroInflatedNegativeBinomial(
            log_scale=log_scale,
            log_library=factor.to(x).log(),
            log_theta=log_theta,
            zi_logits=torch.where(x > 0, NEVER, self.zi_logits - log_zero),
        )


def zinb_cumulative(
    x: np.ndarray, mu: np.ndarray, theta: np.ndarray, zi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Do as :func:`nb_cumulative`, with a share ``zi`` of inflated zeros."""
    lower, upper = nb_cumulative(x, mu, theta)
    return np.where(x > 0, zi + (1 - zi) * lower, 0.0), zi + (1 - zi) * upper
