"""Amortized posterior q(z given x, s)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import scvi.nn
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Normal

from lucidvi.nn._layers import run_layers

#: Largest log variance that is exponentiated: an untrained or diverging encoder then gives a
#: very wide posterior, where exp would overflow to infinity.
LOG_VARIANCE_MAX = 20.0


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
        raw = self.var_encoder(hidden)
        if self.var_activation is torch.exp:
            scale = _ScaleOfLogVariance.apply(raw, self.var_eps)
        else:
            scale = (self.var_activation(raw) + self.var_eps).sqrt()
        return Normal(self.mean_encoder(hidden), scale, validate_args=False)


class _ScaleOfLogVariance(torch.autograd.Function):
    """``sqrt(exp(raw) + eps)``, in one node of the graph."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, eps: float) -> Tensor:
        variance = raw.clamp(max=LOG_VARIANCE_MAX).exp_()
        scale = (variance + eps).sqrt_()
        ctx.save_for_backward(raw, variance, scale)
        return scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        raw, variance, scale = ctx.saved_tensors
        inside = raw <= LOG_VARIANCE_MAX
        return gradient * inside * variance / (2 * scale), None
