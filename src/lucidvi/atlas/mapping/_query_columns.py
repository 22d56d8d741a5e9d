"""The columns of a query that a model was set up with, in the model's categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.atlas.mapping._setup import Setup
from lucidvi.data import (
    COLUMN_LISTS,
    Column,
    category_text,
    check_columns_of_query,
    check_obs,
    matched_codes,
    named_columns,
)
from lucidvi.errors import DataError, MissingKeyError, first_few


def query_columns(
    obs: pd.DataFrame, setup: Setup, batch_key: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that a model was set up with, and the batches that are new to it.

    Parameters
    ----------
    obs
        Columns of the query.
    setup
        How the model was set up.
    batch_key
        Column of the query with the batches, by default the one of the setup.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If a column is missing, or a value that the model has to know.
    """
    batch_key = _batch_column(obs, setup, batch_key)
    _check(obs, setup, batch_key)
    columns = pd.DataFrame(index=obs.index.astype(str))
    for key in (setup.arguments.get("size_factor_key"), setup.arguments["labels_key"]):
        if key is not None:
            columns[key] = obs[key].to_numpy()
    for _, key in named_columns(setup.arguments, COLUMN_LISTS):
        columns[key] = obs[key].to_numpy()
    for key, categories in setup.covariates.items():
        columns[key] = _in_categories(
            columns[key], categories, Column(key, "categorical_covariate_keys")
        )
    if setup.labels_key is not None:
        column = Column(setup.labels_key, "labels_key")
        columns[setup.labels_key] = (
            _in_categories(columns[setup.labels_key], setup.labels, column)
            if setup.uses_labels
            else setup.labels[0]
        )
    if batch_key is None:
        return columns, []
    column = Column(str(batch_key), "batch_key")
    codes, categories = matched_codes(obs[batch_key], setup.batches, column, extend=True)
    new = [category_text(name) for name in categories[len(setup.batches) :]]
    columns[setup.batch_key] = _taken([*setup.batches, *new], codes)
    return columns, new


def _batch_column(obs: pd.DataFrame, setup: Setup, batch_key: str | None) -> str | None:
    """Return the column of the query with the batches."""
    if setup.batch_key is None and batch_key is not None:
        raise DataError(
            f"batch_key={batch_key!r}, but the reference's model was set up without batches.",
            remedy="batch_key=None, or a reference whose model was set up with a `batch_key`.",
        )
    if batch_key is None and setup.batch_key is not None and setup.batch_key not in obs:
        raise MissingKeyError(
            f"query.obs has no column {setup.batch_key!r}, where the reference's model has the "
            f"batches. There are: {first_few(obs.columns) or 'none'}.",
            remedy="name the column, batch_key=...; for cells of one batch make it, "
            f'query.obs["{setup.batch_key}"] = "mine".',
        )
    return setup.batch_key if batch_key is None else batch_key


def _check(obs: pd.DataFrame, setup: Setup, batch_key: str | None) -> None:
    """Raise for a column that is missing, or that does not hold what it has to."""
    without_batches = setup.arguments | {"batch_key": None}
    check_columns_of_query(obs, {**setup.registry, "setup_args": without_batches})
    # Of the columns alone: genes that the model does not have need not be unique.
    check_obs(AnnData(obs=obs), setup.arguments | {"batch_key": batch_key, "layer": None})


def _in_categories(values: pd.Series, categories: Any, column: Column) -> NDArray[np.object_]:
    """Return the model's categories that values equal; raise DataError for one that it lacks."""
    codes, _ = matched_codes(values, categories, column)
    return _taken(list(categories), codes)


def _taken(values: list[Any], codes: NDArray[np.integer]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array[codes]
