"""Amortized posterior q(z given x, s): an independent normal for each dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import scvi.nn
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from lucidvi.kernels import normal_heads
from lucidvi.nn._layers import run_layers


class Encoder(scvi.nn.Encoder):
    r"""Encoder of scvi-tools that returns a distribution: ``(x, s) -> q(z)``.

    A multilayer perceptron with two linear heads: the mean, and the variance
    :math:`\exp(\cdot) + 10^{-4}` (or another ``var_activation``). Parameters are those of
    :class:`scvi.nn.Encoder`, so weights move between the two unchanged. Richer posteriors are
    subclasses with a :meth:`posterior` of their own.
    """

    #: Whether the posteriors are normals, and whether their covariances are diagonal.
    is_normal = is_diagonal = True
    #: What a training does to the means of a minibatch, shape ``(n_cells, n_output)``.
    change_means: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor, *covariates: Tensor, rest: Sequence[Tensor] = ()) -> Distribution:
        """Posterior of a minibatch.

        Parameters
        ----------
        x
            Encoder input, dense or CSR, shape ``(n_cells, n_input)``.
        *covariates
            Categorical covariates, each ``(n_cells, 1)``.
        rest
            Further columns of the input, dense, each ``(n_cells, n)``.

        Returns
        -------
        See :meth:`posterior`.
        """
        return self.posterior(run_layers(self.encoder, x, covariates, rest))

    def posterior(self, hidden: Tensor) -> Distribution:
        """Return the posterior that follows from the last hidden layer.

        Parameters
        ----------
        hidden
            Shape ``(n_cells, n_hidden)``.

        Returns
        -------
        Distribution with ``loc`` and ``scale``, means and marginal standard deviations of shape
        ``(n_cells, n_output)``. For a logistic normal it lives before the softmax
        (``z_transformation``).
        """
        return Normal(*self._heads(hidden), validate_args=False)

    def _heads(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``(n_cells, n_output)``."""
        if self.var_activation is torch.exp:
            loc, scale = normal_heads(hidden, self.mean_encoder, self.var_encoder, self.var_eps)
        else:
            variance = self.var_activation(self.var_encoder(hidden)) + self.var_eps
            loc, scale = self.mean_encoder(hidden), variance.sqrt()
        if self.change_means is not None and self.training:
            loc = self.change_means(loc)
        return loc, scale
