"""What a prior p(z given u) is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lucidvi.nn._divergence import divergence

#: What is known of each cell and may be given to a prior, by name: ``"batch"`` and ``"labels"``,
#: integers ``(n_cells, 1)``; ``"categorical"`` and ``"continuous"`` covariates, ``(n_cells, n)``.
Covariates = Mapping[str, Tensor | None]

#: Makes posteriors of inputs of the encoder, ``(n, n_input)``, with their covariates. It is one
#: function of the weights, in a training and after it: batch norm uses its running statistics,
#: and nothing is dropped.
Encode = Callable[[Tensor, Covariates], Distribution]


@dataclass(frozen=True)
class Sizes:
    """What a prior has to know of the model.

    Parameters
    ----------
    n_latent
        Dimension of the latent state.
    n_input
        Number of genes that the encoder sees.
    n_levels
        Number of levels of each of the integer covariates, by the names in ``Covariates``.
    n_continuous
        Number of continuous covariates.
    """

    n_latent: int
    n_input: int = 0
    n_levels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    n_continuous: int = 0


class Prior(nn.Module, ABC):
    r"""Prior :math:`p(z \mid u)` of the latent state, before the softmax of a logistic normal.

    An implementation gives :meth:`forward`, :meth:`kl` where it has a closed form that torch does
    not know, :meth:`start_from` where it starts from training cells, and :meth:`align` where it
    prefers some axes of the latent space to others. It says what it is by its class attributes and
    by the distribution that :meth:`forward` returns (its ``mean`` and ``variance``), so that
    nobody asks for its class.

    Parameters
    ----------
    sizes
        What it has to know of the model; further arguments are those of ``prior_kwargs``.
    """

    #: Number of training cells that :meth:`start_from` wants.
    n_starting_cells = 0
    #: Number of training cells that :meth:`align` wants; zero if all axes are alike to the prior.
    n_aligning_cells = 0
    #: Whether every rotation of the latent space leaves the prior as it is.
    is_rotation_invariant = False
    #: Whether it is the standard normal, which nothing that is learned can move.
    is_standard_normal = False
    #: Names of the covariates that it depends on; cells of equal ones share one prior.
    covariates: tuple[str, ...] = ()

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, z: Tensor, covariates: Covariates, encode: Encode) -> Distribution:
        """Return the prior of latent states.

        Parameters
        ----------
        z
            Latent states, shape ``(..., n_cells, n_latent)``, for shape, type and device.
        covariates
            Covariates of the cells.
        encode
            The model's encoder, for a prior that consists of posteriors. It is handed in with
            each call, so that no prior holds the encoder's weights a second time.

        Returns
        -------
        Distribution whose ``log_prob(z)`` is of shape ``(..., n_cells, n_latent)``, to be summed
        over the last axis, or ``(..., n_cells)``.
        """

    def start_from(self, x: Tensor, covariates: Covariates) -> None:
        """Take a start from training cells; nothing by default.

        Parameters
        ----------
        x
            What the encoder sees of the cells, dense, shape ``(n_starting_cells, n_input)``.
        covariates
            Covariates of the cells.
        """
        return

    def align(self, loc: Tensor, scale: Tensor, covariates: Covariates) -> Tensor:
        """Fit the prior to posteriors of training cells, and say on which axes it fits them best.

        Parameters
        ----------
        loc, scale
            Means and standard deviations of the posteriors, shape ``(n_cells, n_latent)``.
        covariates
            Covariates of the cells.

        Returns
        -------
        Invertible matrix :math:`A`, shape ``(n_latent, n_latent)``: the prior is now that of
        :math:`A z`. The identity by default.
        """
        return torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)

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
