"""What a prior p(z given u) is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

#: What is known of each cell and may be given to a prior, by name: ``"batch"`` and ``"labels"``,
#: integers ``(n_cells, 1)``; ``"categorical"`` and ``"continuous"`` covariates, ``(n_cells, n)``.
Covariates = Mapping[str, Tensor | None]


class Prior(nn.Module, ABC):
    r"""Prior :math:`p(z \mid u)` of the latent state, before the softmax of a logistic normal.

    An implementation gives :meth:`forward`, and :meth:`kl` where it has a closed form that torch
    does not know.
    """

    @abstractmethod
    def forward(self, z: Tensor, covariates: Covariates) -> Distribution:
        """Return the prior of latent states.

        Parameters
        ----------
        z
            Latent states, shape ``(..., n_cells, n_latent)``, for shape, type and device.
        covariates
            Covariates of the cells.

        Returns
        -------
        Distribution whose ``log_prob(z)`` is of shape ``(..., n_cells, n_latent)``, to be summed
        over the last axis, or ``(..., n_cells)``.
        """

    def kl(self, qz: Distribution, pz: Distribution, z: Tensor) -> Tensor:
        r"""Kullback-Leibler divergence of posteriors from the prior, in nats.

        Exact where torch knows a closed form, else :math:`\log q(z \mid x) - \log p(z \mid u)` at
        the draws, whose mean it is.

        Parameters
        ----------
        qz
            Posterior.
        pz
            Prior, as :meth:`forward` returned it.
        z
            Draws from ``qz``, shape ``(..., n_cells, n_latent)``.

        Returns
        -------
        Shape ``(n_cells,)``, or that of the draws, ``(..., n_cells)``.
        """
        try:
            divergence = kl_divergence(qz, pz)
        except NotImplementedError:
            return log_density(qz, z) - log_density(pz, z)
        return divergence.sum(dim=-1) if not pz.event_shape else divergence


def log_density(distribution: Distribution, z: Tensor) -> Tensor:
    """Log density of whole latent states, shape ``(..., n_cells)``.

    Parameters
    ----------
    distribution
        Over latent states, or over each of their numbers.
    z
        Latent states, shape ``(..., n_cells, n_latent)``.
    """
    density = distribution.log_prob(z)
    return density if distribution.event_shape else density.sum(dim=-1)
