"""Amortized posterior q(z given x, s)."""

from __future__ import annotations

import scvi.nn
import torch
from torch import Tensor
from torch.distributions import Normal

#: Largest log variance that is exponentiated: an untrained or diverging encoder then gives a
#: very wide posterior, where exp would overflow to infinity.
LOG_VARIANCE_MAX = 20.0


class Encoder(scvi.nn.Encoder):
    r"""Encoder of scvi-tools that returns a distribution: ``(x, s) -> q(z)``.

    A multilayer perceptron with two linear heads: the mean, and the variance
    :math:`\exp(\cdot) + 10^{-4}` (or another ``var_activation``). Parameters are those of
    :class:`scvi.nn.Encoder`, so weights move between the two unchanged.
    """

    def forward(self, x: Tensor, *covariates: Tensor) -> Normal:
        """Posterior of a minibatch.

        Parameters
        ----------
        x
            Encoder input, shape ``(n_cells, n_input)``.
        *covariates
            Categorical covariates, each ``(n_cells, 1)``.

        Returns
        -------
        Normal with ``loc`` and ``scale`` (a standard deviation) of shape
        ``(n_cells, n_output)``. For a logistic normal it lives before the softmax
        (``z_transformation``).
        """
        hidden = self.encoder(x, *covariates)
        raw_variance = self.var_encoder(hidden)
        if self.var_activation is torch.exp:
            raw_variance = raw_variance.clamp(max=LOG_VARIANCE_MAX)
        variance = self.var_activation(raw_variance) + self.var_eps
        return Normal(self.mean_encoder(hidden), variance.sqrt(), validate_args=False)
