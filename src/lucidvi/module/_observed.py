"""What was observed of a modality: its exposure, and its likelihood."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.module._generative import Observed

#: Log exposure of a cell of which no measured feature has a count: it says nothing of the cell.
LOG_EXPOSURE_MIN = torch.tensor(1e-8).log().item()


def log_total(x: Tensor) -> Tensor:
    """Log of the total of each cell, shape ``(n_cells, 1)``, bounded from below."""
    return kernels.row_sums(x).log().clamp(min=LOG_EXPOSURE_MIN)


def measured(x: Tensor, present: Tensor | None, features: Tensor | None) -> Tensor:
    """Return values with zeros, for the encoder, in place of what was not measured.

    Parameters
    ----------
    x, present, features
        See :class:`Observed`.
    """
    if features is not None:
        x = torch.where(features, kernels.to_dense(x), 0)
    if present is None:
        return x
    if not kernels.is_csr(x):
        return torch.where(present.unsqueeze(-1), x, 0)
    values = torch.where(present[kernels.row_index(x)], x.values(), 0)
    return kernels.csr(x.crow_indices(), x.col_indices(), values, x.shape[1])


def log_likelihood(px: Any, observed: Observed, renormalize: bool) -> Tensor:
    """Log likelihood of the values that were measured, nats, shape ``(..., n_cells)``.

    Parameters
    ----------
    px
        Likelihood of all features, shape ``(..., n_cells, n_features)``.
    observed
        Values, which cells have them, and which features were measured.
    renormalize
        Let the normalized means sum to one over the measured features alone.
    """
    if observed.features is None:
        value = px.log_likelihood(observed.x)
    else:
        value = _of_features(px, observed.x, observed.features, renormalize)
    return value if observed.present is None else torch.where(observed.present, value, 0)


def _of_features(px: Any, x: Tensor, features: Tensor, renormalize: bool) -> Tensor:
    if renormalize:
        log_scale = px.log_scale.masked_fill(~features, -math.inf)
        px = px.scaled(-log_scale.logsumexp(dim=-1, keepdim=True))
    log_prob = px.log_prob(kernels.to_dense(x))
    return torch.where(features, log_prob, 0).sum(dim=-1)
