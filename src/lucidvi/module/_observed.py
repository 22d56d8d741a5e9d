"""What was observed of a modality: its exposure, and its likelihood."""

from __future__ import annotations

import math
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from torch import Tensor

from lucidvi import kernels
from lucidvi.errors import DataError
from lucidvi.module._contract import check_observed
from lucidvi.module._generative import Exposure, Modality, Observed, Tensors
from lucidvi.nn import Covariates

#: Log exposure of a cell of which no measured feature has a count: it says nothing of the cell.
LOG_EXPOSURE_MIN = torch.tensor(1e-8).log().item()


#: Under which key of a minibatch each covariate is.
COVARIATE_KEYS = {
    "batch": REGISTRY_KEYS.BATCH_KEY,
    "labels": REGISTRY_KEYS.LABELS_KEY,
    "categorical": REGISTRY_KEYS.CAT_COVS_KEY,
    "continuous": REGISTRY_KEYS.CONT_COVS_KEY,
}


def covariates(minibatch: Tensors) -> Covariates:
    """Read the covariates from a minibatch, by name; None for those that are not there."""
    return {name: minibatch.get(key) for name, key in COVARIATE_KEYS.items()}


def observe(modality: Modality, minibatch: Tensors, features: Tensor | None = None) -> Observed:
    """Read what was observed of a modality from a minibatch.

    Values are read from the modality's ``field``; which cells have it and which of its features
    were measured in them, if they are there, from ``present_field`` and ``features_field``; and a
    size factor from scvi-tools' field.

    Parameters
    ----------
    modality
        What to read.
    minibatch
        Tensors by registry key.
    features
        Mask of the measured features, shape ``(n_features,)``; None for all.
    """
    x = _tensor(minibatch, modality.field)
    present, of_cells = (
        None if tensor is None else tensor.bool()
        for tensor in map(minibatch.get, (modality.present_field, modality.features_field))
    )
    present = None if present is None else present.reshape(-1)
    if of_cells is not None:
        features = of_cells if features is None else of_cells & features
    check_observed(modality, x, present, features)
    x = measured(x, present, features)
    log_exposure = None
    if modality.exposure is Exposure.OBSERVED:
        log_exposure = log_total(x)
    elif modality.exposure is Exposure.SIZE_FACTOR:
        log_exposure = _tensor(minibatch, REGISTRY_KEYS.SIZE_FACTOR_KEY).log()
    return Observed(x, log_exposure, present, features)


def _tensor(minibatch: Tensors, key: str) -> Tensor:
    tensor = minibatch.get(key)
    if tensor is None:
        raise DataError(
            f"A minibatch has no {key!r}, which the module reads; it has "
            f"{', '.join(map(repr, minibatch))}.",
            remedy="register it by `setup_anndata`.",
        )
    return tensor


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
    px = measured_means(px, features) if renormalize else px
    return torch.where(features, px.log_prob(kernels.to_dense(x)), 0).sum(dim=-1)


def measured_means(px: Any, features: Tensor) -> Any:
    """Return a likelihood whose normalized means sum to one over the measured features.

    Parameters
    ----------
    px
        Likelihood of all features, shape ``(..., n_cells, n_features)``.
    features
        Mask of the measured ones, shape ``(n_features,)`` or ``(n_cells, n_features)``.
    """
    any_at_all = features.any(dim=-1, keepdim=True)
    log_scale = px.log_scale.masked_fill(any_at_all & ~features, -math.inf)
    return px.scaled(-log_scale.logsumexp(dim=-1, keepdim=True))
