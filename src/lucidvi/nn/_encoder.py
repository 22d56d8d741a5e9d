"""Amortized posterior q(z given x, s)."""

from __future__ import annotations

from collections.abc import Sequence

import scvi.nn
import torch
from torch import Tensor
from torch.distributions import Normal

from lucidvi.kernels import normal_heads
from lucidvi.nn._layers import run_layers


class Encoder(scvi.nn.Encoder):
    r"""Encoder of scvi-tools that returns a distribution: ``(x, s) -> q(z)``.

    A multilayer perceptron with two linear heads: the mean, and the variance
    :math:`\exp(\cdot) + 10^{-4}` (or another ``var_activation``). Parameters are those of
    :class:`scvi.nn.Encoder`, so weights move between the two unchanged.
    """

    def forward(self, x: Tensor, *covariates: Tensor, rest: Sequence[Tensor] = ()) -> Normal:
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
        Normal with ``loc`` and ``scale`` (a standard deviation) of shape
        ``(n_cells, n_output)``. For a logistic normal it lives before the softmax
        (``z_transformation``).
        """
        hidden = run_layers(self.encoder, x, covariates, rest)
        if self.var_activation is torch.exp:
            heads = normal_heads(hidden, self.mean_encoder, self.var_encoder, self.var_eps)
        else:
            variance = self.var_activation(self.var_encoder(hidden)) + self.var_eps
            heads = self.mean_encoder(hidden), variance.sqrt()
        return Normal(*heads, validate_args=False)
