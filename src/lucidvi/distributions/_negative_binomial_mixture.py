"""Mixture of two negative binomials: a background, and what is above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lucidvi import kernels
from lucidvi.distributions._counts import CountLikelihood, draw_poisson, to_numpy
from lucidvi.distributions._negative_binomial import (
    DISPERSION,
    log_theta_by_moments,
    nb_cumulative,
)
from lucidvi.distributions._parameter import Moments, Parameter

#: Log odds beyond which a share is zero or one to float32, and gradients by it vanish.
LOGITS = (-20.0, 20.0)


class NegativeBinomialMixture(CountLikelihood):
    r"""Counts that are background, with probability :math:`\pi`, or foreground.

    .. math::
        p(x) = \pi \, \mathrm{NB}(x; \alpha \mu, \theta) + (1 - \pi) \, \mathrm{NB}(x; \mu, \theta)

    with the mean :math:`\mu` of the foreground, the share :math:`\alpha < 1` of it that the
    background's mean is, and one inverse dispersion :math:`\theta`. So counts of surface proteins
    are, of which antibodies that bind to nothing leave a background.

    Parameters
    ----------
    logits, log_library, log_scale
        The mean of the foreground, see :class:`Likelihood`.
    log_theta
        Log inverse dispersion, of a shape that broadcasts to ``(..., n_cells, n_features)``.
    ratio_logits
        Log odds of :math:`\alpha`, same.
    background_logits
        Log odds of :math:`\pi`, same.

    References
    ----------
    Gayoso et al., Nature Methods 18 (2021), Joint probabilistic modeling of single-cell multi-omic
    data with totalVI.
    """

    family: ClassVar[str] = "nb_mixture"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "log_theta": DISPERSION,
        "ratio_logits": Parameter(
            "background_ratio", by="cell", space="logit", bounds=LOGITS, start=-1.0
        ),
        "background_logits": Parameter(
            "background_probability", by="cell", space="logit", bounds=LOGITS
        ),
    }

    @staticmethod
    def at_zero(
        log_mean: Tensor, log_theta: Tensor, ratio_logits: Tensor, background_logits: Tensor
    ) -> Tensor:
        """See :attr:`CountLikelihood.at_zero`."""
        background = kernels.nb_zero(log_mean + logsigmoid(ratio_logits), log_theta)
        return _mixed(background, kernels.nb_zero(log_mean, log_theta), background_logits)

    @staticmethod
    def at_count(
        x: Tensor,
        log_mean: Tensor,
        log_theta: Tensor,
        ratio_logits: Tensor,
        background_logits: Tensor,
    ) -> Tensor:
        """See :attr:`CountLikelihood.at_count`."""
        background = kernels.nb_count(x, log_mean + logsigmoid(ratio_logits), log_theta)
        return _mixed(background, kernels.nb_count(x, log_mean, log_theta), background_logits)

    @classmethod
    def start(cls, moments: Moments) -> dict[str, Tensor]:
        """See :meth:`Likelihood.start`."""
        return {"log_theta": log_theta_by_moments(moments)}

    @classmethod
    def with_mean(cls, log_mean: Tensor, **parameters: Tensor) -> Self:
        """See :meth:`Likelihood.with_mean`."""
        log_share = _log_share(parameters["ratio_logits"], parameters["background_logits"])
        return super().with_mean(log_mean - log_share, **parameters)

    @property
    def log_theta(self) -> Tensor:
        """Log inverse dispersion, shape ``(..., n_cells, n_features)``."""
        return self.parameter("log_theta")

    @property
    def ratio_logits(self) -> Tensor:
        r"""Log odds of :math:`\alpha`, shape ``(..., n_cells, n_features)``."""
        return self.parameter("ratio_logits")

    @property
    def background_logits(self) -> Tensor:
        r"""Log odds of :math:`\pi`, shape ``(..., n_cells, n_features)``."""
        return self.parameter("background_logits")

    @property
    def background(self) -> Tensor:
        r"""Probability :math:`\pi` of background, shape ``(..., n_cells, n_features)``."""
        return self.linear("background_logits")

    @property
    def signal(self) -> Tensor:
        r""":math:`(1 - \pi) \mu`, linear."""
        return (1 - self.background) * self.mu

    @property
    def background_mean(self) -> Tensor:
        r"""Mean of the background, :math:`\alpha \mu`, linear."""
        return (self.log_mean + logsigmoid(self.ratio_logits)).exp()

    @property
    def mean(self) -> Tensor:
        r""":math:`(1 - \pi + \pi \alpha) \mu`, linear."""
        logits = self.ratio_logits, self.background_logits
        return (self.log_mean + _log_share(*logits)).exp()

    @property
    def variance(self) -> Tensor:
        """Mean of the variances of the two, plus the variance of their means, linear."""
        share, inverse = self.background, 1 / self.linear("log_theta")
        low, high = self.background_mean, self.mu
        within = share * (low + inverse * low**2) + (1 - share) * (high + inverse * high**2)
        return within + share * (1 - share) * (high - low).square()

    @property
    def information(self) -> Tensor:
        """Lower bound of that about the log of both means, see :attr:`Likelihood.information`."""
        return self.mean.square() / self.variance

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts, float, shape ``(*sample_shape, ..., n_cells, n_features)``."""
        shape = torch.Size(sample_shape or ()) + self.log_mean.shape
        log_theta = self.log_theta.expand(shape)
        theta = log_theta.exp()
        place = torch.device("cpu") if theta.device.type == "mps" else theta.device
        gamma = torch._standard_gamma(theta.to(place)).to(theta.device)
        is_background = torch.rand_like(theta) < self.background
        ratio = torch.where(is_background, logsigmoid(self.ratio_logits), 0.0)
        return draw_poisson((gamma.log() + self.log_mean + ratio - log_theta).exp())

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Likelihood.cumulative`."""
        counts, theta = to_numpy(x), to_numpy(self.linear("log_theta"), x.shape)
        share = to_numpy(self.background, x.shape)
        low, high = (
            nb_cumulative(counts, to_numpy(mean, x.shape), theta)
            for mean in (self.background_mean, self.mu)
        )
        below, at_most = (
            share * one + (1 - share) * other for one, other in zip(low, high, strict=True)
        )
        return below, at_most

    def foreground_given(self, x: Any) -> Tensor:
        """Probability that a count is foreground, given the count and the state.

        Parameters
        ----------
        x
            Counts (linear), dense, of a shape that broadcasts with the parameters'.

        Returns
        -------
        Shape ``(..., n_cells, n_features)``.
        """
        log_mean, log_theta = self.log_mean, self.log_theta
        counts = kernels.to_dense(x).to(log_mean)
        low = kernels.nb_count(counts, log_mean + logsigmoid(self.ratio_logits), log_theta)
        high = kernels.nb_count(counts, log_mean, log_theta)
        return torch.sigmoid(high - low - self.background_logits)


def _mixed(background: Tensor, foreground: Tensor, logits: Tensor) -> Tensor:
    """Log probability of a mixture of two, whose log odds are those of the background."""
    return torch.logaddexp(background + logsigmoid(logits), foreground + logsigmoid(-logits))


def _log_share(ratio_logits: Tensor, background_logits: Tensor) -> Tensor:
    """Log of the mean as a share of that of the foreground."""
    return torch.logaddexp(
        logsigmoid(-background_logits), logsigmoid(background_logits) + logsigmoid(ratio_logits)
    )
