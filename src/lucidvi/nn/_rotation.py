"""Posteriors of a latent space whose axes were turned."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal

from lucidvi.nn._divergence import log_density
from lucidvi.nn._flow_encoder import FlowPosterior
from lucidvi.nn._full_encoder import FullNormal


class RotatedNormal(FullNormal):
    r"""Distribution of :math:`R^\top z` where :math:`z` has a normal distribution.

    .. math:: \mathrm{Normal}(R^\top m, \; R^\top S R)

    Draws are those of the normal, turned, and densities those of states turned back, so that
    neither loses digits to the factor of the covariance.

    Parameters
    ----------
    base
        Normal of each number of the latent state, or of whole states.
    rotation
        Orthogonal matrix :math:`R`, shape ``(n_latent, n_latent)``.
    """

    def __init__(self, base: Normal | MultivariateNormal, rotation: Tensor) -> None:
        self.base, self.rotation = base, rotation
        super().__init__(base.loc @ rotation, _turned_factor(base, rotation))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, shape ``(*sample_shape, n_cells, n_latent)``, differentiable."""
        return self.base.rsample(torch.Size(sample_shape)) @ self.rotation

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, shape ``(..., n_cells)``."""
        return log_density(self.base, value @ self.rotation.mT)


def _turned_factor(base: Normal | MultivariateNormal, rotation: Tensor) -> Tensor:
    """Lower triangular factor of the turned covariance.

    In double precision: variances in use and not in use differ by up to 1e4, and in single
    precision the digits of the small ones would be lost.
    """
    turned = rotation.double().mT
    if isinstance(base, Normal):
        root = turned * base.scale.double().unsqueeze(-2)
    else:
        root = turned @ base.scale_tril.double()
    return torch.linalg.cholesky(root @ root.mT).to(base.loc.dtype)


@singledispatch
def rotated(q: Any, rotation: Tensor) -> Distribution:
    r"""Return the distribution of :math:`R^\top z`, of row vectors :math:`z R`.

    Parameters
    ----------
    q
        Posterior of an encoder, the distribution of :math:`z`. A new kind of posterior registers
        a function of its own.
    rotation
        Orthogonal matrix :math:`R`, shape ``(n_latent, n_latent)``.
    """
    raise NotImplementedError(f"A {type(q).__name__} cannot be turned.")


@rotated.register
def _(q: Normal, rotation: Tensor) -> Distribution:
    return RotatedNormal(q, rotation)


@rotated.register
def _(q: FullNormal, rotation: Tensor) -> Distribution:
    return RotatedNormal(q, rotation)


@rotated.register
def _(q: FlowPosterior, rotation: Tensor) -> Distribution:
    return q.rotated(rotation)
