"""Several networks of one shape, evaluated at once."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn


class Networks(nn.Module):
    r"""Fully connected networks of one shape, each with weights of its own.

    Their last layers start at zero, and so do the outputs.

    Parameters
    ----------
    n_networks
        How many.
    n_in
        Inputs of each.
    n_out
        Outputs of each.
    n_hidden, n_layers
        Width and number of the hidden layers.
    """

    def __init__(
        self, n_networks: int, n_in: int, n_out: int, n_hidden: int, n_layers: int
    ) -> None:
        super().__init__()
        sizes = [n_in, *[n_hidden] * n_layers, n_out]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, (n_from, n_of) in enumerate(itertools.pairwise(sizes)):
            scale = 0.0 if i == n_layers else math.sqrt(1 / n_from)
            weight = scale * torch.randn(n_networks, n_from, n_of)
            bias = scale * torch.randn(n_networks, 1, n_of)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def forward(self, x: Tensor, members: slice = slice(None)) -> Tensor:
        """Evaluate networks, each on states of its own.

        Parameters
        ----------
        x
            Shape ``(n_networks, n, n_in)``, or ``(n, n_in)``, the same for all.
        members
            Which of the networks; by default all.

        Returns
        -------
        Shape ``(n_networks, n, n_out)``.
        """
        h = x.expand(len(self.weights[0][members]), -1, -1) if x.ndim == 2 else x
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias[members], h, weight[members])
            if i < last:
                h = nn.functional.silu(h)
        return h
