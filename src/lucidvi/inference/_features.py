"""Which features of which cells were measured, as callers say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.module import Modality, Observed


def feature_masks(
    features: Any, modalities: Mapping[str, Modality], device: Any
) -> dict[str, Tensor] | None:
    """Check masks of the measured features.

    Parameters
    ----------
    features
        Mask of the main modality, or masks by modality, each bool of shape ``(n_features,)``;
        None for all features.
    modalities
        Modalities of the module.
    device
        Where the masks are wanted.

    Raises
    ------
    lucidvi.errors.DataError
        If one is no such mask, or there is no such modality.
    """
    if features is None:
        return None
    if not isinstance(features, Mapping):
        features = {next(iter(modalities)): features}
    for key in features:
        check_choice("modality", key, modalities)
    return {key: _mask(mask, modalities[key].n_features, device) for key, mask in features.items()}


def select_observed(observed: Observed, cells: Tensor) -> Observed:
    """Return what was observed of some cells, by position or mask."""
    log_exposure, present, features = observed[1:]
    return Observed(
        kernels.select_rows(observed.x, cells),
        None if log_exposure is None else log_exposure[cells],
        None if present is None else present[cells],
        features if features is None or features.ndim == 1 else features[cells],
    )


def _mask(features: Any, n_features: int, device: Any) -> Tensor:
    mask = torch.as_tensor(features, device=device)
    if mask.dtype != torch.bool or mask.shape != (n_features,) or not mask.any():
        raise DataError(
            f"`genes` has the dtype {mask.dtype}, the shape {tuple(mask.shape)} and "
            f"{int(mask.count_nonzero())} values that are not zero.",
            remedy=f"Give a boolean mask of shape ({n_features},), true for measured genes.",
        )
    return mask
