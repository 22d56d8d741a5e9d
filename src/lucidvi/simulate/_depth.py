"""Fewer counts of the same cells; more are :meth:`lucidvi.distributions.Likelihood.further`."""

from __future__ import annotations

import torch
from torch import Tensor


def thinned(x: Tensor, kept: Tensor) -> Tensor:
    """Keep each count with its cell's probability.

    Parameters
    ----------
    x
        Counts, dense, shape ``(n_cells, n_genes)``.
    kept
        Probabilities, shape ``(n_cells, 1)``.
    """
    return torch.binomial(x, kept.to(x).expand_as(x))
