"""Whether columns of categories name groups, by values that a model can be saved with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData

from lucidvi.data._columns import OF_CATEGORIES, named_columns
from lucidvi.data._remedies import column_of
from lucidvi.data.covariates._equality import readable
from lucidvi.errors import DataError, first_few

#: Values that a file of a model, and an .h5ad file, hold as they are.
STORED = (str, bytes, bool, int, float, np.bool_, np.integer, np.floating)
#: Cells a category, on average, below which a column is taken for one of names of cells; and how
#: many cells there are at least, for this to be said.
CELLS_PER_CATEGORY, FEWEST_CELLS = 2, 20


def check_categories(adata: AnnData, setup_args: Mapping[str, Any]) -> None:
    """Check the columns of categories that a new model is set up with.

    Parameters
    ----------
    adata
        The cells, with columns that :func:`~lucidvi.data.check_obs` has passed.
    setup_args
        Arguments of ``setup_anndata``.

    Raises
    ------
    lucidvi.errors.DataError
        If categories are intervals, dates, tuples or other objects: after the training, the model
        could not be saved.

    Warns
    -----
    UserWarning
        If a column has nearly as many categories as there are cells.
    """
    for argument, column in named_columns(setup_args, OF_CATEGORIES):
        values = readable(adata.obs[column])
        categories = values.cat.categories if hasattr(values, "cat") else values.unique()
        _check_stored(argument, values, categories)
        n_categories = values.nunique()
        if (
            adata.n_obs >= FEWEST_CELLS
            and n_categories * CELLS_PER_CATEGORY > adata.n_obs
            and n_categories > CELLS_PER_CATEGORY
        ):
            warnings.warn(
                _too_many(adata, argument, column, n_categories),
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )


def _check_stored(argument: str, values: pd.Series, categories: Any) -> None:
    strange = [value for value in categories if not isinstance(value, STORED)]
    if not strange:
        return
    place = column_of(str(values.name))
    code = f"{place} = {place}.{_to_text(values)}"
    raise DataError(
        f"{argument}: {place} has categories of type {type(strange[0]).__name__} (such as "
        f"{first_few(strange, 2)}), which the file of a model cannot hold.",
        remedy=f"make them text: {code}",
        code=[code],
    )


def _to_text(values: pd.Series) -> str:
    try:
        values.astype(str)
    except (TypeError, ValueError):  # of pandas, for categories that are tuples
        return "astype(object).map(str)"
    return "astype(str)"


def _too_many(adata: AnnData, argument: str, column: str, n_categories: int) -> str:
    values = adata.obs[column]
    advice = f"name the column of groups, or {argument}=None"
    if pd.api.types.is_numeric_dtype(values.dtype) and argument != "labels_key":
        advice += f'; numbers are covariates: continuous_covariate_keys=["{column}"]'
    return (
        f"{argument}: {column_of(column)} has {n_categories:,} categories in {adata.n_obs:,} "
        f"cells ({first_few(values.unique(), 3)}), so that most are one cell: are these names of "
        f"cells, not of groups? Then {advice}."
    )
