"""What a training does to a module besides its steps, where the module offers it.

None of it is part of :class:`lucidvi.module.Generative`. A module offers what it has by methods of
these names; what it has not is left out of its training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from lucidvi.distributions import Moments
from lucidvi.module._generative import Tensors
from lucidvi.nn import Covariates, Encoder, Prior


class Startable(Protocol):
    """A module that can start at the data, and not at random weights alone."""

    @property
    def n_starting_cells(self) -> int:
        """Number of training cells that :meth:`start_from` wants to see; zero for none."""

    def start_from(self, moments: Mapping[str, Moments], cells: Tensors | None) -> None:
        """Set fresh weights to what the data say.

        Parameters
        ----------
        moments
            Of the training cells, by modality, in float64 on the CPU.
        cells
            A minibatch of :attr:`n_starting_cells` training cells, the same ones where that is
            more than there are; None if it is zero.
        """


class Factorable(Protocol):
    """A module whose encoder and decoder can start as those of linear factors."""

    @property
    def n_factors(self) -> int:
        """Number of factors that it can start at; zero for none."""

    def encoder_input(self, x: Tensor) -> Tensor:
        """Turn counts, CSR or dense, into what the encoder sees of them."""

    def start_from_factors(self, directions: Tensor, loadings: Tensor) -> None:
        r"""Start at the latent state :math:`z_k = w_k^\top y` but for a constant.

        Parameters
        ----------
        directions
            :math:`w_k`, with which :math:`z_k` has variance one over the cells, shape
            ``(n_genes, n_factors)``.
        loadings
            Change of log expression with each factor, same shape.
        """


class Alignable(Protocol):
    """A module whose latent space can be turned to axes that its prior prefers."""

    @property
    def n_aligning_cells(self) -> int:
        """Number of training cells that :meth:`align` wants; zero if all axes are alike."""

    def align(self, loc: Tensor, scale: Tensor, s: Covariates) -> Tensor:
        """Fit the prior to posteriors, and say on which axes; see :meth:`Prior.align`.

        Parameters
        ----------
        loc, scale
            Means and standard deviations of the posteriors, shape ``(n_cells, n_latent)``.
        s
            Covariates of the cells.
        """

    def turn(self, matrix: Tensor) -> None:
        r"""Replace the latent state :math:`z` by :math:`A z`; the decoded means stay as they are.

        Parameters
        ----------
        matrix
            Invertible matrix :math:`A`, shape ``(n_latent, n_latent)``.
        """


class Normalizable(Protocol):
    """A module of one encoder, whose posterior means can be normalized over a minibatch."""

    @property
    def z_encoder(self) -> Encoder:
        """Encoder of the latent state; its layer ``mean_encoder`` gives the means."""

    @property
    def prior(self) -> Prior:
        """Prior of the latent state."""


def offers(module: Any, contract: type) -> bool:
    """Return whether a module has all that a contract of this file names.

    ``isinstance`` would not do: from Python 3.12 on it does not see parts of a module of torch.
    """
    return all(hasattr(module, name) for name in vars(contract) if not name.startswith("_"))
