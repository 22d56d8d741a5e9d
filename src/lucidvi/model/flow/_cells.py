"""States and molecules of cells, as kinetics read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from lucidvi.data import StoredCounts
from lucidvi.errors import DataError
from lucidvi.model._cells import Cells
from lucidvi.module.kinetics import Decoded, Kinetics
from lucidvi.nn import Covariates, LastLayer
from lucidvi.train import SplicedCells

#: Cells that are decoded at once.
AT_ONCE = 512


def fitted(model: Any) -> Kinetics:
    """Return the kinetics of a model, which have to be fitted."""
    kinetics: Kinetics = model.module.kinetics
    if not bool(kinetics.is_fitted):
        raise DataError(
            "The kinetics of the model have not been fitted, so that nothing is known of where "
            "cells go.",
            remedy="model.train(), or model.fit_kinetics() of a model that is trained.",
        )
    return kinetics


def spliced_cells(model: Any, adata: Any = None, indices: Any = None) -> SplicedCells:
    """Return states, covariates and molecules of cells.

    Parameters
    ----------
    model
        Of spliced and unspliced molecules.
    adata, indices
        The cells, by default those of the model.
    """
    cells = Cells.of(model, adata, indices)
    arguments = model.registry["setup_args"]
    mean, variance = model.get_latent_representation(
        cells.adata, cells.positions, return_dist=True
    )
    counts = (
        sparse.csr_matrix(StoredCounts(cells.adata.layers[arguments[name]])[cells.positions])
        for name in ("layer", "unspliced_layer")
    )
    return SplicedCells(
        torch.from_numpy(np.asarray(mean)).to(model.device),
        torch.from_numpy(np.sqrt(variance)).to(model.device),
        covariates_of(model, cells),
        *counts,
    )


def covariates_of(model: Any, cells: Cells) -> dict[str, Any]:
    """Return the covariates of cells as the decoder takes them, where the model is.

    Parameters
    ----------
    model
        Of spliced and unspliced molecules.
    cells
        The cells.
    """
    parts = [model.module.covariates(batch) for _, batch in cells.minibatches("Reading cells")]
    return {
        name: None if value is None else torch.cat([part[name] for part in parts]).to(model.device)
        for name, value in parts[0].items()
    }


class DecodedBlock(NamedTuple):
    """Some cells, decoded.

    Parameters
    ----------
    rows
        Which of the cells.
    z
        Their states, shape ``(n, n_latent)``.
    decoded
        What the decoder makes of them.
    last
        Its last layer.
    batch
        Codes of their batches, shape ``(n, 1)``.
    """

    rows: Tensor
    z: Tensor
    decoded: Decoded
    last: LastLayer
    batch: Tensor


def decoded_blocks(model: Any, z: Tensor, covariates: Covariates) -> Iterator[DecodedBlock]:
    """Decode cells, some at a time.

    Parameters
    ----------
    model
        Of spliced and unspliced molecules.
    z
        States, shape ``(n_cells, n_latent)``.
    covariates
        Of all cells.
    """
    for rows in torch.arange(len(z)).split(AT_ONCE):
        s: Any = {k: None if v is None else v[rows] for k, v in covariates.items()}
        last = model.module.last_layer(s)
        yield DecodedBlock(rows, z[rows], Decoded.of(last, z[rows], s), last, s["batch"])
