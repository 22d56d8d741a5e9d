"""Distribution of all that is latent in a cell: its state and, if it is latent, its library."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, constraints

from lucidvi.nn._divergence import log_density


class Joined(Distribution):
    """Independent state and log library as one vector, the library last.

    Parameters
    ----------
    state
        Distribution of the latent state, of event shape ``(n_latent,)``.
    log_library
        Normal of the log library, of batch shape ``(n_cells, 1)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, state: Distribution, log_library: Normal) -> None:
        self.state, self.log_library = state, log_library
        event_shape = torch.Size([state.event_shape[0] + 1])
        super().__init__(log_library.batch_shape[:1], event_shape, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, shape ``(*sample_shape, n_cells, n_latent + 1)``."""
        parts = [d.rsample(torch.Size(sample_shape)) for d in (self.state, self.log_library)]
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw as :meth:`rsample` does, also of a state (a mixture) that has no such draws."""
        parts = [d.sample(torch.Size(sample_shape)) for d in (self.state, self.log_library)]
        return torch.cat(parts, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, shape ``(..., n_cells)``."""
        log_library = log_density(self.log_library, value[..., -1:])
        return log_density(self.state, value[..., :-1]) + log_library

    @property
    def mean(self) -> Tensor:
        """Means, shape ``(n_cells, n_latent + 1)``."""
        return torch.cat([self.state.mean, self.log_library.mean], dim=-1)

    @property
    def variance(self) -> Tensor:
        """Variances, shape ``(n_cells, n_latent + 1)``."""
        return torch.cat([self.state.variance, self.log_library.variance], dim=-1)

    def select(self, cells: Tensor) -> Joined:
        """Return the distributions of some cells, by position or mask."""
        loc, scale = self.log_library.loc[cells], self.log_library.scale[cells]
        return Joined(select_cells(self.state, cells), Normal(loc, scale, validate_args=False))


def joined(state: Distribution, log_library: Normal | None) -> Distribution:
    """Join state and, if it is latent, log library, into a normal wherever both are.

    Parameters
    ----------
    state
        Distribution of whole latent states, or normal of each of their numbers.
    log_library
        Normal of the log library, of batch shape ``(n_cells, 1)``.
    """
    if isinstance(state, Normal):
        loc, scale = state.loc, state.scale
        if log_library is not None:
            loc = torch.cat([loc, log_library.loc], dim=-1)
            scale = torch.cat([scale, log_library.scale], dim=-1)
        return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
    if log_library is None:
        return state
    if isinstance(state, MultivariateNormal):
        loc = torch.cat([state.loc, log_library.loc], dim=-1)
        factor = torch.nn.functional.pad(state.scale_tril, (0, 1, 0, 1))
        factor[:, -1, -1] = log_library.scale.squeeze(-1)
        return MultivariateNormal(loc, scale_tril=factor, validate_args=False)
    return Joined(state, log_library)


def select_cells(q: Distribution, cells: Tensor) -> Distribution:
    """Return the posteriors of some cells, of the same kind."""
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
        base = q.base_dist
        return Independent(Normal(base.loc[cells], base.scale[cells], validate_args=False), 1)
    if isinstance(q, MultivariateNormal):
        return MultivariateNormal(
            q.loc[cells], scale_tril=q.scale_tril[cells], validate_args=False
        )
    return cast(Any, q).select(cells)
