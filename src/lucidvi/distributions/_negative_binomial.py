"""Negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import scvi.distributions
import torch
from scipy import special
from torch import Tensor

from lucidvi import kernels
from lucidvi.distributions._counts import CountLikelihood, draw_poisson, to_numpy
from lucidvi.distributions._parameter import Moments, Parameter, Question

#: Above the upper bound of ``log_theta`` the negative binomial is a Poisson to eight digits; below
#: the lower one, a spike at zero. Its gradient is zero to float32 either way.
DISPERSION = Parameter("dispersions", by="gene", space="log", bounds=(-20.0, 20.0), start=1.0)
#: Bounds of the inverse dispersions to start from.
START_BOUNDS = (1e-2, 1e2)
#: Largest inverse dispersion whose distribution function is evaluated; above it is a Poisson's.
THETA_MAX = 1e7

ZERO_INFLATION = Question(
    "zero_inflation", "zinb", "nb", "Zero inflation", "There are more zeros than predicted."
)
BY_BATCH = Question(
    "dispersion",
    "nb by batch",
    "nb",
    "A dispersion for each batch",
    "Counts vary more in some batches than in others.",
)


class NegativeBinomial(CountLikelihood, scvi.distributions.NegativeBinomial):
    r"""Negative binomial with mean :math:`\mu` and inverse dispersion :math:`\theta`.

    .. math::
        \log p(x) = \log\Gamma(x + \theta) - \log\Gamma(\theta) - \log\Gamma(x + 1)
            + x \log\frac{\mu}{\theta + \mu} - \theta \log\left(1 + \frac{\mu}{\theta}\right)

    so that the variance is :math:`\mu + \mu^2 / \theta`.

    Parameters
    ----------
    logits, log_library, log_scale
        The mean, see :class:`Likelihood`.
    log_theta
        Log inverse dispersion, of a shape that broadcasts to ``(..., n_cells, n_genes)``.
        Clamped to ``[-20, 20]``.

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    family: ClassVar[str] = "nb"
    parameters: ClassVar[Mapping[str, Parameter]] = {"log_theta": DISPERSION}
    adopts = scvi.distributions.NegativeBinomial
    read: ClassVar[Mapping[str, str]] = {"log_theta": "theta"}
    questions: ClassVar[tuple[Question, ...]] = (ZERO_INFLATION, BY_BATCH)
    questions_by_batch: ClassVar[tuple[Question, ...]] = (ZERO_INFLATION,)
    tried_by_batch: ClassVar[bool] = True
    at_zero: ClassVar[Callable[..., Tensor]] = staticmethod(kernels.nb_zero)
    at_count: ClassVar[Callable[..., Tensor]] = staticmethod(kernels.nb_count)
    growth: ClassVar[Callable[..., Tensor] | None] = staticmethod(kernels.nb_growth)

    @classmethod
    def start(cls, moments: Moments) -> dict[str, Tensor]:
        """See :meth:`Likelihood.start`."""
        return {"log_theta": log_theta_by_moments(moments)}

    @property
    def log_theta(self) -> Tensor:
        """Log inverse dispersion, shape ``(..., n_cells, n_genes)``."""
        return self.parameter("log_theta")

    @property
    def theta(self) -> Tensor:
        """Inverse dispersion, linear, shape ``(..., n_cells, n_genes)``."""
        return self.linear("log_theta")

    @property
    def mean(self) -> Tensor:
        """Mean, linear, shape ``(..., n_cells, n_genes)``."""
        return self.mu

    @property
    def variance(self) -> Tensor:
        r""":math:`\mu + \mu^2 / \theta`, linear, shape ``(..., n_cells, n_genes)``."""
        return self.mu + (self.mu**2) / self.theta

    @property
    def information(self) -> Tensor:
        r"""Fisher information about :math:`\log \mu`, :math:`\mu / (1 + \mu / \theta)`."""
        return self.mu / (1 + self.mu / self.theta)

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts as a Poisson with a gamma distributed rate.

        Parameters
        ----------
        sample_shape
            Leading shape of the draws.

        Returns
        -------
        Counts, float, shape ``(*sample_shape, ..., n_cells, n_genes)``; rates above 1e8 are
        drawn from at 1e8.
        """
        shape = torch.Size(sample_shape or ()) + self.log_mean.shape
        theta = self.theta.expand(shape)
        place = torch.device("cpu") if theta.device.type == "mps" else theta.device
        gamma = torch._standard_gamma(theta.to(place)).to(theta.device)
        # On the log scale, since a small shape makes gamma variates that underflow.
        return draw_poisson((gamma.log() + self.log_mean - self.log_theta).exp())

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Likelihood.cumulative`."""
        values = (to_numpy(values, x.shape) for values in (self.mu, self.theta))
        return nb_cumulative(to_numpy(x), *values)

    def further(self, x: Tensor, factor: Tensor) -> NegativeBinomial:
        r"""See :meth:`Likelihood.further`.

        A negative binomial is a Poisson whose rate is gamma distributed, so that the rate of an
        observed count has a gamma distribution too: a unit of the exposure that was spent,

        .. math::
            \lambda \mid x &\sim \mathrm{Gamma}(\theta + x, \; 1 + \theta / \mu) \\
            x^\text{new} \mid x &\sim \mathrm{Poisson}(r \lambda)
                = \mathrm{NB}\left(r \mu \frac{\theta + x}{\theta + \mu}, \; \theta + x\right)

        for an additional exposure of :math:`r` times that which was spent.
        """
        log_scale, log_theta = self._rate_given(x)
        log_library = factor.to(x).log()
        return NegativeBinomial(log_scale=log_scale, log_library=log_library, log_theta=log_theta)

    def _rate_given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log mean and log shape of the gamma distribution of each rate, given the count."""
        log_shape = (self.theta + x).log()
        log_mean = self.log_mean + log_shape - torch.logaddexp(self.log_theta, self.log_mean)
        return log_mean, log_shape


def log_theta_by_moments(moments: Moments) -> Tensor:
    r"""Log inverse dispersion by moments, within bounds, shape ``(n_genes,)``.

    With :math:`\mu_n = \ell_n \rho` it solves
    :math:`\sum_n (x_n - \mu_n)^2 = \sum_n \mu_n + \mu_n^2 / \theta`. What differs between cell
    types is in it, so the truth is less dispersed; it is a place to start from.
    """
    rho = moments.rate
    variance = moments.squares - 2 * rho * moments.exposed
    squared_means = rho.square() * moments.squared_exposure
    excess = variance + squared_means - rho * moments.exposure
    theta = squared_means / excess.clamp(min=1e-12)
    return theta.clamp(*START_BOUNDS).log()


def nb_cumulative(
    x: np.ndarray, mu: np.ndarray, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of less than, and of at most, each count under a negative binomial."""
    theta = np.minimum(theta, THETA_MAX)
    zero = np.exp(-theta * np.log1p(mu / theta))
    lower, upper = np.zeros_like(zero), zero.copy()
    some = x > 0  # most counts are zero, and need no incomplete beta function
    mu, theta, count = np.broadcast_to(mu, x.shape)[some], theta[some], x[some]
    success = theta / (theta + mu)
    lower[some] = special.betainc(theta, count, success)
    upper[some] = special.betainc(theta, count + 1, success)
    return lower, upper
