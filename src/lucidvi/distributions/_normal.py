"""Normal likelihood, for values that are not counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import scvi.distributions
import torch
from scipy import special
from torch import Tensor
from torch.distributions import constraints

from lucidvi.distributions._counts import to_numpy
from lucidvi.distributions._likelihood import Likelihood
from lucidvi.distributions._parameter import Parameter
from lucidvi.kernels import to_dense

LOG_ROOT_TWO_PI = math.log(math.sqrt(2 * math.pi))


class Normal(Likelihood, scvi.distributions.Normal):
    r"""Normal with mean :math:`\mu = \ell \, \rho` and standard deviation :math:`\theta`.

    As scvi-tools and torch have it, :attr:`scale` is the standard deviation; the normalized
    expression is ``get_normalized("scale")``.

    Parameters
    ----------
    logits, log_library, log_scale
        The mean, see :class:`Likelihood`.
    log_theta
        Log standard deviation, of a shape that broadcasts to ``(..., n_cells, n_genes)``.
        Clamped to ``[-10, 20]``, so that squared deviations stay float32 numbers.
    """

    family: ClassVar[str] = "normal"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "log_theta": Parameter("dispersions", by="gene", space="log", bounds=(-10.0, 20.0))
    }
    adopts = scvi.distributions.Normal
    read: ClassVar[Mapping[str, str]] = {"log_theta": "scale"}
    support = constraints.real

    @property
    def log_theta(self) -> Tensor:
        """Log standard deviation, shape ``(..., n_cells, n_genes)``."""
        return self.parameter("log_theta")

    @property
    def loc(self) -> Tensor:
        """The mean (linear), under the name that torch gives it."""
        return self.mu

    @property
    def scale(self) -> Tensor:
        """Standard deviation, linear, shape ``(..., n_cells, n_genes)``."""
        return self.linear("log_theta")

    @property
    def mean(self) -> Tensor:
        """Mean, linear, shape ``(..., n_cells, n_genes)``."""
        return self.mu

    @property
    def variance(self) -> Tensor:
        """Variance, linear, shape ``(..., n_cells, n_genes)``."""
        return self.scale.square()

    @property
    def information(self) -> Tensor:
        r"""Fisher information about :math:`\log \mu`, :math:`(\mu / \theta)^2`."""
        return (self.mu / self.scale).square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of each value, in nats, shape ``(..., n_cells, n_genes)``.

        Parameters
        ----------
        value
            Values (linear), CSR or dense, of a shape that broadcasts with the parameters'.
        """
        scale = self.scale
        squares = (to_dense(value) - self.loc) ** 2
        return -squares / (2 * scale**2) - scale.log() - LOG_ROOT_TWO_PI

    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw values, float, shape ``(*sample_shape, ..., n_cells, n_genes)``."""
        return torch.distributions.Normal.sample(self, torch.Size(sample_shape or ()))

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Probability of at most each value, twice, since a density has no steps."""
        loc, scale = (to_numpy(values, x.shape) for values in (self.loc, self.scale))
        value = special.ndtr((to_numpy(x) - loc) / scale)
        return value, value
