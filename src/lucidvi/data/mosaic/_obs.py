"""Columns of the cells: those of a MuData, and those of its modalities where they agree."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

from lucidvi.checks import user_columns
from lucidvi.data._remedies import quoted
from lucidvi.errors import DataError


def columns_of_anndata(adata: AnnData) -> pd.DataFrame:
    """Return the columns of cells that are a user's, a copy."""
    return adata.obs[user_columns(adata.obs.columns)].copy()


def columns_of_mudata(
    mdata: MuData, modalities: Collection[str], needed: Mapping[str, str]
) -> pd.DataFrame:
    """Return one table of the columns of a MuData and of its modalities.

    A column keeps its name where all that have it agree on every cell, or it is needed; else
    each modality's own is called ``"modality:column"``.

    Parameters
    ----------
    mdata
        The cells.
    modalities
        Names of the modalities that are looked at.
    needed
        Columns that a model is set up with, and for each the argument that names it.

    Raises
    ------
    lucidvi.errors.DataError
        If a cell has different values of a column that is needed.

    Warns
    -----
    UserWarning
        If a needed column was pulled from a modality, and has changed there since.
    """
    own = {name: mdata.mod[name] for name in mdata.mod if name in modalities}
    pulled = {f"{name}:{column}" for name, cells in mdata.mod.items() for column in cells.obs}
    table = pd.DataFrame(index=mdata.obs_names)
    for column in user_columns(mdata.obs.columns):
        if column not in pulled:
            table[column] = plain_column(mdata.obs[column])
    names = dict.fromkeys(column for cells in own.values() for column in cells.obs)
    for column in user_columns(names):
        parts = {name: cells for name, cells in own.items() if column in cells.obs}
        _add(mdata, table, column, parts, needed.get(column))
    for column, argument in needed.items():
        if column in pulled and column not in table:
            _add_of_modality(mdata, table, column, argument, own)
    return table


def _add(
    mdata: MuData,
    table: pd.DataFrame,
    column: str,
    parts: Mapping[str, AnnData],
    argument: str | None,
) -> None:
    """Add a column of modalities to a table: one, or one a modality where they disagree."""
    values = np.full(mdata.n_obs, None, dtype=object)
    series = []
    if column in table:
        values = table[column].astype(object).to_numpy(copy=True)
        series.append(table[column])
    known = ~pd.isna(values)
    agree, origin = True, np.where(known, "mdata.obs", "")
    for name, cells in parts.items():
        rows, new = _placed(mdata, cells, column)
        both = known[rows] & ~pd.isna(new)
        differ = np.flatnonzero(both)[_differ(values[rows[both]], new[both])]
        if differ.size and argument is not None:
            cell = rows[differ[0]]
            raise _disagree(mdata, column, argument, name, differ, origin[cell], cell, values, new)
        agree &= not differ.size
        fresh = ~known[rows] & ~pd.isna(new)
        values[rows[fresh]] = new[fresh]
        origin[rows[fresh]] = name
        known[rows[fresh]] = True
        series.append(cells.obs[column])
        if argument is not None:
            _warn_if_stale(mdata, name, column, argument)
    if agree and (known.all() or len(series) > 1 or argument is not None):
        table[column] = restored(values, series)
        return
    for name, cells in parts.items():
        rows, new = _placed(mdata, cells, column)
        values = np.full(mdata.n_obs, None, dtype=object)
        values[rows] = new
        table[f"{name}:{column}"] = restored(values, [cells.obs[column]])


def _add_of_modality(
    mdata: MuData, table: pd.DataFrame, column: str, argument: str, own: Mapping[str, AnnData]
) -> None:
    """Add a needed column that is named as the one of a modality."""
    name, _, plain = column.partition(":")
    cells = mdata.mod[name]
    rows, new = _placed(mdata, cells, plain)
    values = np.full(mdata.n_obs, None, dtype=object)
    values[rows] = new
    missing = pd.isna(values)
    others = [other for other, one in own.items() if other != name and plain in one.obs]
    if missing.any() and others:
        raise DataError(
            f"{argument}={column!r} has no value in {missing.sum():,} of {mdata.n_obs:,} cells, "
            f"which the modality {name!r} does not have; {others[0]!r} has a column {plain!r} "
            "too.",
            remedy=f"take each cell's from the modality that has it: {argument}={quoted(plain)}",
            code=[f"{argument}={quoted(plain)}"],
        )
    _warn_if_stale(mdata, name, plain, argument)
    table[column] = restored(values, [cells.obs[plain]])


def _placed(
    mdata: MuData, cells: AnnData, column: str
) -> tuple[NDArray[np.integer], NDArray[Any]]:
    """Return the positions of a modality's cells among all, and their values of a column."""
    rows = mdata.obs_names.get_indexer(cells.obs_names)
    return rows, cells.obs[column].astype(object).to_numpy()


def _differ(before: NDArray[Any], now: NDArray[Any]) -> NDArray[np.integer]:
    """Return which values are not the same, as text or as they are."""
    different = np.flatnonzero(np.asarray(before != now, dtype=bool))
    return different[[str(before[i]) != str(now[i]) for i in different]]


def _disagree(
    mdata: MuData,
    column: str,
    argument: str,
    name: str,
    differ: NDArray[np.integer],
    origin: str,
    cell: int,
    values: NDArray[Any],
    new: NDArray[Any],
) -> DataError:
    where = "mdata.obs" if origin == "mdata.obs" else f"the modality {origin!r}"
    remedy = (
        f"put right what is wrong: mdata.mod[{quoted(name)}].obs[{quoted(column)}], or that of "
        f"{where}; or name another column, such as {argument}={quoted(f'{name}:{column}')}."
    )
    code = []
    if origin == "mdata.obs":
        code = [f"del mdata.obs[{quoted(column)}]"]
        remedy = (
            f"if the modalities are right: {code[0]}, after which theirs are taken (mdata.obs is "
            "not kept up to date with them). If mdata.obs is right: "
            f"del mdata.mod[{quoted(name)}].obs[{quoted(column)}]"
        )
        code.append(f"del mdata.mod[{quoted(name)}].obs[{quoted(column)}]")
    return DataError(
        f"{argument}={column!r}: cell {mdata.obs_names[cell]!r} is {str(new[differ[0]])!r} in the "
        f"modality {name!r} and {str(values[cell])!r} in {where}; {len(differ):,} cells have two "
        "values.",
        remedy=remedy,
        code=code,
    )


def _warn_if_stale(mdata: MuData, name: str, column: str, argument: str) -> None:
    pulled = f"{name}:{column}"
    if pulled not in mdata.obs:
        return
    rows, own = _placed(mdata, mdata.mod[name], column)
    old = mdata.obs[pulled].astype(object).to_numpy()[rows]
    both = ~pd.isna(old) & ~pd.isna(own)
    differ = np.flatnonzero(both)[_differ(old[both], own[both])]
    if not differ.size:
        return
    first = differ[0]
    warnings.warn(
        f"{argument}: mdata.obs[{quoted(pulled)}] is out of date: cell "
        f"{mdata.obs_names[rows[first]]!r} is {str(old[first])!r} there and {str(own[first])!r} "
        "in "
        f"the modality {name!r}, which is taken ({differ.size:,} cells differ). To bring it up "
        f"to date: mdata.pull_obs({quoted(column)})",
        UserWarning,
        stacklevel=scvi.settings.warnings_stacklevel,
    )


def plain_column(column: pd.Series) -> pd.Series:
    """Return a column in NumPy's type where nothing is missing, as it was before a pull."""
    dtype = column.dtype
    if not isinstance(dtype, pd.BooleanDtype | pd.Int64Dtype) or column.hasnans:
        return column.copy()
    return column.astype(dtype.numpy_dtype)


def restored(values: NDArray[Any], series: list[pd.Series]) -> Any:
    """Return values in the type of the columns that they come from.

    Parameters
    ----------
    values
        Values of all cells, None where there is none, shape ``(n_cells,)``.
    series
        The columns.
    """
    dtypes = [one.dtype for one in series]
    if any(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        categories = dict.fromkeys(value for one in series for value in _categories(one))
        is_ordered = all(dtype == dtypes[0] for dtype in dtypes) and dtypes[0].ordered
        return pd.Categorical(values, categories=list(categories), ordered=is_ordered)
    complete = not pd.isna(values).any()
    if complete and all(dtype == dtypes[0] for dtype in dtypes):
        return plain_column(pd.Series(values).astype(dtypes[0])).to_numpy()
    return pd.Series(values).infer_objects().to_numpy()


def _categories(column: pd.Series) -> Iterator[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        yield from column.cat.categories
    else:
        yield from column.dropna().unique()
