"""Amortized posterior with a full covariance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lucidvi.nn._encoder import Encoder
from lucidvi.nn._stop_gradient import stop_gradient


class FullNormal(MultivariateNormal):
    """Multivariate normal with ``scale``, the marginal standard deviations, as scvi reads it.

    Parameters
    ----------
    loc
        Means, shape ``(n_cells, n_latent)``.
    scale_tril
        Factors of the covariance, shape ``(n_cells, n_latent, n_latent)``.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        super().__init__(loc, scale_tril=scale_tril, validate_args=False)

    @property
    def scale(self) -> Tensor:
        """Marginal standard deviations, shape ``(n_cells, n_latent)``."""
        return self.scale_tril.square().sum(dim=-1).sqrt()


@stop_gradient.register
def _(q: FullNormal) -> FullNormal:
    return FullNormal(q.loc.detach(), q.scale_tril.detach())


class FullEncoder(Encoder):
    r"""Encoder of a normal posterior with a full covariance.

    .. math:: q(z) = \mathrm{Normal}(\mu, L L^\top), \quad L = \mathrm{diag}(\sigma) \, (I + N)

    with the mean :math:`\mu` and :math:`\sigma` of :class:`Encoder` and a third linear head for
    the strictly lower triangular :math:`N`, which starts at zero. Arguments are those of
    :class:`Encoder`.
    """

    is_diagonal = False

    def __init__(self, n_input: int, n_output: int, *, n_hidden: int = 128, **kwargs: Any) -> None:
        super().__init__(n_input, n_output, n_hidden=n_hidden, **kwargs)
        rows, columns = torch.tril_indices(n_output, n_output, offset=-1)
        self.register_buffer("_places", rows * n_output + columns, persistent=False)
        self.tril_encoder = nn.Linear(n_hidden, max(1, len(rows)))
        nn.init.zeros_(self.tril_encoder.weight)
        nn.init.zeros_(self.tril_encoder.bias)

    def posterior(self, hidden: Tensor) -> FullNormal:
        """See :meth:`Encoder.posterior`."""
        loc, scale = self._heads(hidden)
        n_cells, n_latent = loc.shape
        lower = self.tril_encoder(hidden)[:, : len(self._places)]
        factor = loc.new_zeros(n_cells, n_latent**2)
        factor = factor.index_copy(1, self._places, lower.to(loc.dtype)).view(
            n_cells, n_latent, -1
        )
        factor = factor + torch.eye(n_latent, dtype=loc.dtype, device=loc.device)
        return FullNormal(loc, scale.unsqueeze(-1) * factor)
