"""How much each modality says about a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucidvi.model import Cells

#: Cells by which modalities are weighed, at most.
N_WEIGHED = 512


def modality_weights(model: Any) -> dict[str, float]:
    r"""Weigh modalities by what their values say about the cell: signal over noise.

    .. math::
        \sum_f \mathrm{E}_c\left[\frac{(\mu_{cf} - \ell_c \bar\rho_f)^2}{\sigma_{cf}^2}\right],
        \quad \bar\rho_f = \mathrm{E}_c\left[\frac{\mu_{cf}}{\ell_c}\right]

    with decoded means :math:`\mu`, variances :math:`\sigma^2` and exposures :math:`\ell`, over the
    cells that have the modality.

    Parameters
    ----------
    model
        Trained model with its data, of which at most 512 cells are taken.

    Returns
    -------
    Shares that sum to one, by modality; of a model of one modality, 1.
    """
    modalities = list(model.module.modalities)
    if len(modalities) == 1:
        return {modalities[0]: 1.0}
    chosen = np.unique(np.linspace(0, model.adata.n_obs - 1, N_WEIGHED).astype(int))
    cells = Cells(model, model.adata, chosen)
    parts: dict[str, list[tuple[Tensor, ...]]] = {key: [] for key in modalities}
    for _, target in cells.targets():
        state = target.q0.mean
        for key, decoded in parts.items():
            present = target.observed[key].present
            has = slice(None) if present is None else present
            with torch.no_grad():
                px = target.likelihood(state, key)
                exposure = target.exposure(state, key)[:, None].expand_as(px.mean)
                decoded.append((px.mean[has], px.variance[has], exposure[has]))
    signal = {
        key: _signal(*map(torch.cat, zip(*decoded, strict=True))) for key, decoded in parts.items()
    }
    total = max(sum(signal.values()), np.finfo(np.float64).tiny)
    return {key: value / total for key, value in signal.items()}


def _signal(mean: Tensor, variance: Tensor, exposure: Tensor) -> float:
    """Return signal over noise, each of shape ``(n_cells, n_features)``."""
    expected = exposure * (mean / exposure).mean(dim=0)
    return float(((mean - expected).square() / variance).double().mean(dim=0).sum())
