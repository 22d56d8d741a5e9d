"""What a prior p(z given u) is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributions import Distribution

from lucidvi.nn._divergence import divergence

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

        See :func:`lucidvi.nn.divergence`.

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
        return divergence(qz, pz, z)
