"""Distribution of the state of a cell: all that is latent in it."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, constraints

from lucidvi.nn._divergence import log_density


class StateDistribution(Distribution):
    r"""Distribution of states: :math:`z` and, independent of it, log exposures that are latent.

    A state is one vector, the log exposures last. Batch shape ``(..., n_cells)``, event shape
    ``(n_latent + n_exposures,)``.

    Parameters
    ----------
    latent
        Distribution of :math:`z` before the softmax of a logistic normal: of whole latent states,
        or of each of their numbers.
    log_exposures
        Normal of each log exposure, of batch shape ``(..., n_cells, n_exposures)``; None where
        none is latent.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, latent: Distribution, log_exposures: Normal | None = None) -> None:
        self.latent, self.log_exposures = latent, log_exposures
        shape = latent.batch_shape + latent.event_shape
        n_exposures = 0 if log_exposures is None else log_exposures.batch_shape[-1]
        event_shape = Size([shape[-1] + n_exposures])
        super().__init__(shape[:-1], event_shape, validate_args=False)

    @property
    def n_latent(self) -> int:
        """Length of :math:`z`."""
        return (self.latent.batch_shape + self.latent.event_shape)[-1]

    @property
    def _parts(self) -> tuple[Distribution, ...]:
        if self.log_exposures is None:
            return (self.latent,)
        return self.latent, self.log_exposures

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, shape ``(*sample_shape, n_cells, n_state)``."""
        return torch.cat([part.rsample(Size(sample_shape)) for part in self._parts], dim=-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw as :meth:`rsample` does, also of a mixture, which has no such draws."""
        return torch.cat([part.sample(Size(sample_shape)) for part in self._parts], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of states ``(..., n_cells, n_state)``, shape ``(..., n_cells)``."""
        log_prob = log_density(self.latent, value[..., : self.n_latent])
        if self.log_exposures is None:
            return log_prob
        return log_density(self.log_exposures, value[..., self.n_latent :]) + log_prob

    @property
    def mean(self) -> Tensor:
        """Means, shape ``(n_cells, n_state)``."""
        return torch.cat([part.mean for part in self._parts], dim=-1)

    @property
    def variance(self) -> Tensor:
        """Variances, shape ``(n_cells, n_state)``."""
        return torch.cat([part.variance for part in self._parts], dim=-1)

    def select(self, cells: Tensor) -> StateDistribution:
        """Return the distributions of some cells, by position or mask."""
        of_exposures = self.log_exposures
        if of_exposures is not None:
            loc, scale = of_exposures.loc[cells], of_exposures.scale[cells]
            of_exposures = Normal(loc, scale, validate_args=False)
        return StateDistribution(select_cells(self.latent, cells), of_exposures)

    @property
    def as_vector(self) -> Distribution:
        """The same over whole states, a normal wherever it is one."""
        return _as_vector(self.latent, self)


@singledispatch
def _as_vector(latent: Any, q: StateDistribution) -> Distribution:
    return latent if q.log_exposures is None else q


@_as_vector.register
def _(latent: Normal, q: StateDistribution) -> Distribution:
    loc, scale = latent.loc, latent.scale
    if q.log_exposures is not None:
        loc = torch.cat([loc, q.log_exposures.loc], dim=-1)
        scale = torch.cat([scale, q.log_exposures.scale], dim=-1)
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


@_as_vector.register
def _(latent: MultivariateNormal, q: StateDistribution) -> Distribution:
    if q.log_exposures is None:
        return latent
    n_latent, n = q.n_latent, q.event_shape[0] - q.n_latent
    loc = torch.cat([latent.loc, q.log_exposures.loc], dim=-1)
    factor = torch.nn.functional.pad(latent.scale_tril, (0, n, 0, n))
    factor[..., n_latent:, n_latent:] = q.log_exposures.scale.diag_embed()
    return MultivariateNormal(loc, scale_tril=factor, validate_args=False)


@singledispatch
def select_cells(q: Any, cells: Tensor) -> Distribution:
    """Return the posteriors of some cells, of the same kind.

    Parameters
    ----------
    q
        Posterior of batch shape ``(n_cells,)``. A kind of its own has a method ``select``.
    cells
        Positions or mask of the cells.
    """
    return q.select(cells)


@select_cells.register
def _(q: Normal, cells: Tensor) -> Distribution:
    return Normal(q.loc[cells], q.scale[cells], validate_args=False)


@select_cells.register
def _(q: Independent, cells: Tensor) -> Distribution:
    of_numbers = select_cells(q.base_dist, cells)
    return Independent(of_numbers, q.reinterpreted_batch_ndims, validate_args=False)


@select_cells.register
def _(q: MultivariateNormal, cells: Tensor) -> Distribution:
    return MultivariateNormal(q.loc[cells], scale_tril=q.scale_tril[cells], validate_args=False)
