"""Poisson likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
import scvi.distributions
import torch
from scipy import special
from torch import Tensor

from lucidvi import kernels
from lucidvi.distributions._counts import CountLikelihood, draw_poisson, to_numpy
from lucidvi.distributions._parameter import Question


class Poisson(CountLikelihood, scvi.distributions.Poisson):
    r"""Poisson with mean :math:`\mu`.

    .. math:: \log p(x) = x \log\mu - \mu - \log\Gamma(x + 1)

    Parameters
    ----------
    logits, log_library, log_scale
        The mean, see :class:`Likelihood`.
    """

    family: ClassVar[str] = "poisson"
    adopts = scvi.distributions.Poisson
    without_state: ClassVar[str] = "poisson"
    questions: ClassVar[tuple[Question, ...]] = (
        Question(
            "dispersion", "nb", "poisson", "Over-dispersion", "Counts vary more than predicted."
        ),
    )
    at_zero: ClassVar[Callable[..., Tensor]] = staticmethod(kernels.poisson_zero)
    at_count: ClassVar[Callable[..., Tensor]] = staticmethod(kernels.poisson_count)
    growth: ClassVar[Callable[..., Tensor] | None] = staticmethod(kernels.poisson_growth)

    @property
    def rate(self) -> Tensor:
        """The mean (linear), under the name that torch gives it."""
        return self.mu

    @property
    def mean(self) -> Tensor:
        """Mean, linear, shape ``(..., n_cells, n_genes)``."""
        return self.mu

    @property
    def variance(self) -> Tensor:
        """Variance, which is the mean, linear, shape ``(..., n_cells, n_genes)``."""
        return self.mu

    @property
    def information(self) -> Tensor:
        """Fisher information about the log mean, shape ``(..., n_cells, n_genes)``."""
        return self.mu

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts, float, shape ``(*sample_shape, ..., n_cells, n_genes)``.

        Rates above 1e8 are drawn from at 1e8.
        """
        shape = torch.Size(sample_shape or ()) + self.log_mean.shape
        return draw_poisson(self.rate.expand(shape))

    def limited(self, largest: float) -> Self:
        """See :meth:`Likelihood.limited`: the mean is the rate of the draws."""
        log_mean = self.log_mean.clamp(max=math.log(largest))
        return self._of(log_mean, self.log_scale, self.log_library, self._parameters)

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Likelihood.cumulative`."""
        return poisson_cumulative(to_numpy(x), to_numpy(self.mu, x.shape))

    def further(self, x: Tensor, factor: Tensor) -> Poisson:
        """See :meth:`Likelihood.further`: the observed counts tell nothing of the others."""
        return Poisson(log_scale=self.log_mean, log_library=factor.to(x).log())


def poisson_cumulative(x: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of less than, and of at most, each count under a Poisson of mean ``mu``."""
    lower = np.where(x > 0, special.gammaincc(np.maximum(x, 1), mu), 0.0)
    return lower, special.gammaincc(x + 1, mu)
