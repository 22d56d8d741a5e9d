"""Samples of several times, from arrays or from the cells of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lucidvi._positions import cell_positions
from lucidvi._random import isolated
from lucidvi.checks import check_column
from lucidvi.dynamics._samples import Samples
from lucidvi.errors import DataError
from lucidvi.model import capable

Mass = str | Mapping[Any, float]


def samples_of_arrays(
    z: Any, time: Any, time_key: str | None, mass: Mass, indices: Any = None
) -> Samples:
    """Return states that were given as they are.

    Parameters
    ----------
    z, time, time_key, mass, indices
        See :func:`lucidvi.dynamics.fit_flow`.
    """
    if hasattr(z, "obsm"):
        raise DataError(
            f"`z` is {type(z).__name__}, which may hold several states of a cell.",
            remedy='fit_flow(adata.obsm["X_scVI"], adata.obs["day"])',
        )
    if time is None or time_key is not None:
        raise DataError(
            "`z` is an array, which has no columns, so that its times are an array, too.",
            remedy='fit_flow(adata.obsm["X_scVI"], adata.obs["day"])',
        )
    if indices is not None:
        raise DataError(
            "`indices` are of a model's cells, and `z` is an array.",
            remedy="fit_flow(z[indices], time[indices])",
        )
    names = z.index if isinstance(z, pd.DataFrame) else getattr(time, "index", None)
    return Samples.of(z, time, mass, names=names)


def samples_of_model(
    model: Any, time: Any, time_key: str | None, mass: Mass, indices: Any = None
) -> Samples:
    """Return the posteriors of a model's cells.

    Parameters
    ----------
    model, time, time_key, mass, indices
        See :func:`lucidvi.dynamics.fit_flow`.
    """
    model = capable(model, "states that can move")
    if model.adata is None:
        raise DataError(
            "`z` is a model without cells.",
            remedy=f"model = {type(model).__name__}.load(folder, adata=adata)",
        )
    if (time is None) == (time_key is None):
        raise DataError(
            f"`time` {'and' if time is not None else 'or'} `time_key` "
            f"{'are both' if time is not None else 'has to be'} given.",
            remedy='fit_flow(model, time_key="day"), a column of model.adata.obs.',
        )
    if time_key is not None:
        check_column(model.adata.obs, "time_key", time_key)
        time = model.adata.obs[time_key]
    rows = cell_positions(indices, model.adata.obs_names)
    values = time if isinstance(time, pd.Series) else np.asarray(time)
    if values.shape[:1] == (model.adata.n_obs,):  # else there is one for each chosen cell
        values = values.iloc[rows] if isinstance(values, pd.Series) else values[rows]
    with isolated():  # a loader of cells draws, too
        mean, variance = model.get_latent_representation(indices=rows, return_dist=True)
    return Samples.of(mean, values, mass, np.sqrt(variance), model.adata.obs_names[rows])
