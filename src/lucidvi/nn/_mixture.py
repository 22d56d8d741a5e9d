"""Priors that are mixtures, and the mixture of normals."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Size, Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    constraints,
)

from lucidvi.errors import DataError
from lucidvi.nn._prior import Covariates, Encode, Prior, Sizes

#: Standard deviation of the means of fresh components.
WIDTH = 0.5


class Mixture(Distribution):
    r"""One mixture for all cells, :math:`p(z) = \sum_k w_k \, p_k(z)`.

    Parameters
    ----------
    logits
        Log weights up to a constant, shape ``(n_components,)``.
    components
        Of any kind, over whole latent states (batch shape ``(n_components,)``) or over each of
        their numbers.
    batch_shape
        That of the cells, which is not written out: a component is evaluated once for all.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, logits: Tensor, components: Distribution, batch_shape: Size) -> None:
        if not components.event_shape:
            components = Independent(components, 1, validate_args=False)
        weights = Categorical(logits=logits, validate_args=False)
        self.of_one = MixtureSameFamily(weights, components, validate_args=False)
        super().__init__(batch_shape, components.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, shape ``(..., n_cells)``."""
        return self.of_one.log_prob(value)

    def log_marginals(self, value: Tensor) -> Tensor:
        """Log density of each number by itself, shape ``(..., n_cells, n_latent)``."""
        of_one = self.of_one.component_distribution
        parts = Normal(of_one.mean, of_one.stddev, validate_args=False)
        log_weights = self.of_one.mixture_distribution.logits.unsqueeze(-1)
        return (parts.log_prob(value.unsqueeze(-2)) + log_weights).logsumexp(dim=-2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, shape ``(*sample_shape, n_cells, n_latent)``."""
        return self.of_one.sample(Size(sample_shape) + self.batch_shape)

    @property
    def mean(self) -> Tensor:
        """Means, shape ``(n_cells, n_latent)``."""
        return self.of_one.mean.expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Marginal variances, shape ``(n_cells, n_latent)``."""
        return self.of_one.variance.expand(self.batch_shape + self.event_shape)


class NormalMixture(Prior):
    r"""Prior :math:`\sum_k w_k \, \mathrm{Normal}(m_k, \mathrm{diag}(s_k^2))`, all of it learned.

    Fresh means are drawn from :math:`\mathrm{Normal}(0, a^2 I)` and fresh variances are
    :math:`1 - a^2`, so that it starts near the standard normal.

    Parameters
    ----------
    sizes
        See :class:`Prior`.
    n_components
        Number of components.
    """

    def __init__(self, sizes: Sizes, n_components: int = 50) -> None:
        super().__init__(sizes)
        check_n_components(n_components)
        shape = n_components, sizes.n_latent
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.loc = nn.Parameter(WIDTH * torch.randn(shape))
        self.log_scale = nn.Parameter(torch.full(shape, 1 - WIDTH**2).log() / 2)

    def forward(self, z: Tensor, covariates: Covariates, encode: Encode) -> Mixture:
        """See :meth:`Prior.forward`."""
        components = Normal(self.loc, self.log_scale.exp(), validate_args=False)
        return Mixture(self.logits, components, z.shape[:-1])


def check_n_components(n_components: int) -> None:
    """Raise :class:`DataError` for what is no number of components."""
    if isinstance(n_components, bool) or not isinstance(n_components, int) or n_components < 1:
        raise DataError(
            f"`n_components` in `prior_kwargs` is {n_components!r}.",
            remedy="Give a whole number of at least 1.",
        )
