"""Whether anything was counted: a Bernoulli whose mean follows from a rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from lucidvi.distributions._counts import CountLikelihood, to_numpy
from lucidvi.kernels import LOG_MU_MAX


class Bernoulli(CountLikelihood):
    r"""One where a Poisson of mean :math:`\mu` would have any count, and zero elsewhere.

    .. math:: p(1) = 1 - e^{-\mu}

    So the rate has the meaning that it has of counts, exposure included, and only their size is
    not looked at, as where accessibility was made binary.

    Parameters
    ----------
    logits, log_library, log_scale
        The rate, see :class:`Likelihood`.
    """

    family: ClassVar[str] = "bernoulli"
    is_binary: ClassVar[bool] = True

    @staticmethod
    def at_zero(log_mean: Tensor) -> Tensor:
        """See :attr:`CountLikelihood.at_zero`."""
        return -log_mean.clamp(max=LOG_MU_MAX).exp()

    @staticmethod
    def at_count(x: Tensor, log_mean: Tensor) -> Tensor:
        """See :attr:`CountLikelihood.at_count`; two or more do not occur."""
        rate = log_mean.clamp(max=LOG_MU_MAX).exp()
        # Of a small rate the probability is the rate, of which the log is known.
        small = log_mean - rate / 2
        value = torch.where(rate < 1e-6, small, (-torch.expm1(-rate.clamp(min=1e-6))).log())
        return torch.where(x > 1, -math.inf, value)

    @classmethod
    def with_mean(cls, log_mean: Tensor, **parameters: Tensor) -> Self:
        """See :meth:`Likelihood.with_mean`; the mean has to be below one."""
        return super().with_mean((-torch.log1p(-log_mean.exp())).log(), **parameters)

    @property
    def mean(self) -> Tensor:
        """Probability of one, shape ``(..., n_cells, n_features)``."""
        return -torch.expm1(-self.mu)

    @property
    def variance(self) -> Tensor:
        """Variance, linear, shape ``(..., n_cells, n_features)``."""
        return self.mean * (-self.mu).exp()

    @property
    def information(self) -> Tensor:
        r"""Fisher information about :math:`\log \mu`, :math:`\mu^2 / (e^\mu - 1)`."""
        rate = self.mu.clamp(min=torch.finfo(self.mu.dtype).tiny)
        return rate.square() / torch.expm1(rate)

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw zeros and ones, float, shape ``(*sample_shape, ..., n_cells, n_features)``."""
        shape = torch.Size(sample_shape or ()) + self.log_mean.shape
        return (torch.rand(shape, device=self.log_mean.device) < self.mean).to(self.log_mean.dtype)

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Likelihood.cumulative`."""
        zero, counts = to_numpy((-self.mu).exp(), x.shape), to_numpy(x)
        return np.where(counts > 0, zero, 0.0), np.where(counts > 0, 1.0, zero)

    def further(self, x: Tensor, factor: Tensor) -> Any:
        r"""See :meth:`Likelihood.further`: whether anything is counted that was not before.

        Where nothing was, the rate of the rest is :math:`r \mu`; where something was, nothing is
        added.
        """
        log_mean = torch.where(x > 0, -math.inf, self.log_mean)
        return Bernoulli(log_scale=log_mean, log_library=factor.to(x).log())
