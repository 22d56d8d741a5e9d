"""Networks of a field: several of one shape, evaluated at once."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn


class Networks(nn.Module):
    r"""Fully connected networks of one shape, each with weights of its own.

    :math:`(z, t) \mapsto` outputs, linear in units that the caller knows. Where the last layer
    starts at zero, so do the outputs.

    Parameters
    ----------
    n_networks
        How many.
    n_latent
        Dimensions of :math:`z`.
    n_out
        Outputs of each.
    n_hidden, n_layers
        Width and number of the hidden layers.
    """

    def __init__(
        self, n_networks: int, n_latent: int, n_out: int, n_hidden: int, n_layers: int
    ) -> None:
        super().__init__()
        sizes = [n_latent + 1, *[n_hidden] * n_layers, n_out]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, (n_in, n_of) in enumerate(itertools.pairwise(sizes)):
            scale = 0.0 if i == n_layers else math.sqrt(1 / n_in)
            weight = scale * torch.randn(n_networks, n_in, n_of)
            bias = scale * torch.randn(n_networks, 1, n_of)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def forward(self, z: Tensor, t: Tensor, members: slice = slice(None)) -> Tensor:
        """Evaluate networks, each on states of its own.

        Parameters
        ----------
        z
            Shape ``(n_networks, n, n_latent)``, or ``(n, n_latent)``, the same for all.
        t
            Shape ``(n_networks, n)``, or ``(n,)``.
        members
            Which of the networks; by default all.

        Returns
        -------
        Shape ``(n_networks, n, n_out)``.
        """
        h = torch.cat([z, t[..., None]], dim=-1)
        if h.ndim == 2:
            h = h.expand(len(self.weights[0][members]), -1, -1)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias[members], h, weight[members])
            if i < last:
                h = nn.functional.silu(h)
        return h
