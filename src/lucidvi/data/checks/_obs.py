"""Whether the columns that a model is told about exist and can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi._kinds import shown
from lucidvi.checks import SHORT_LIST, nearest, user_columns
from lucidvi.data._columns import COLUMN_LISTS, ONE_COLUMN
from lucidvi.data._remedies import Reader, column_of, quoted, taken
from lucidvi.data.checks._scan import holds_counts
from lucidvi.data.matrices._layers import is_raw, layer_names
from lucidvi.errors import DataError, MissingKeyError, first_few


def check_obs(adata: AnnData, setup_args: Mapping[str, Any]) -> None:
    """Check the names of cells' columns and layers, and the columns' values.

    Parameters
    ----------
    adata
        The cells. Nothing in it is changed.
    setup_args
        Arguments of ``setup_anndata``: ``layer``, ``batch_key``, ``labels_key``,
        ``size_factor_key``, ``categorical_covariate_keys``, ``continuous_covariate_keys``.
        A missing one means None; others are ignored.

    Raises
    ------
    MissingKeyError
        If a layer or a column of ``adata.obs`` does not exist.
    DataError
        If gene names are not unique, a list of columns is not a list or names one twice, a
        category is missing, a continuous covariate is not a finite number, or a size factor
        is not a positive one.
    """
    keys = check_keys(setup_args)
    check_unique_genes(adata)
    check_layer(adata, setup_args.get("layer"), Reader(setup_args))
    for argument, columns in keys.items():
        for column in columns:
            _check_exists(column, adata.obs.columns, argument, "adata.obs column")
            _CHECKS[argument](adata, argument, column)


def check_keys(setup_args: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the columns that arguments of a setup name, by argument.

    Parameters
    ----------
    setup_args
        See :func:`check_obs`.

    Raises
    ------
    DataError
        If an argument is neither None nor the name of a column, or a list of such.
    """
    layer = setup_args.get("layer")
    if not isinstance(layer, str | None):
        raise DataError(
            f"layer is a {type(layer).__name__}, not the name of a layer.",
            remedy='layer="counts", or None for adata.X.',
        )
    keys = {name: _one_column(name, setup_args.get(name)) for name in ONE_COLUMN}
    return keys | {name: _column_list(name, setup_args.get(name)) for name in COLUMN_LISTS}


def check_layer(adata: AnnData, layer: str | None, reader: Reader | None = None) -> None:
    """Raise MissingKeyError unless `layer` is None or the name of a layer.

    Parameters
    ----------
    adata, layer
        The cells, and the name.
    reader
        Whoever reads the counts, so that the remedy is code for it.
    """
    if layer is None:
        return
    if is_raw(adata, layer):
        raise _raw_is_no_layer(adata, reader or Reader())
    _check_exists(layer, layer_names(adata), "layer", "layer in adata.layers")


def _raw_is_no_layer(adata: AnnData, reader: Reader) -> MissingKeyError:
    problem = "layer='raw': adata.raw is no layer; it has genes of its own."
    if not holds_counts(adata.raw.X):
        return MissingKeyError(
            f"{problem} Nor does it hold counts.",
            remedy="name the layer that does, or load the unprocessed counts.",
        )
    code = reader.reads_raw(adata)
    return MissingKeyError(problem, remedy=code, code=[code])


def check_unique_genes(adata: AnnData) -> None:
    """Raise DataError if two genes of `adata` have one name."""
    if adata.var_names.is_unique:
        return
    repeated = adata.var_names[adata.var_names.duplicated()].unique()
    raise DataError(
        f"adata.var_names has {len(repeated):,} names that occur more than once: "
        f"{first_few(repeated)}.",
        remedy="adata.var_names_make_unique()",
        code=["adata.var_names_make_unique()"],
    )


def _one_column(argument: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    first = value[0] if isinstance(value, list | tuple) and value else None
    name = first if isinstance(first, str) else argument.removesuffix("_key")
    remedy = f"name one column, e.g. {argument}={quoted(name)}"
    if argument == "batch_key":
        remedy += ", and put the others into categorical_covariate_keys=[...]"
    raise DataError(
        f"{argument}={shown(value)} is not the name of one column.", remedy=remedy + "."
    )


def _column_list(argument: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        raise DataError(
            f"{argument}={value!r} is one string where a list of columns is expected.",
            remedy=f"{argument}=[{quoted(value)}]",
            code=[f"{argument}=[{quoted(value)}]"],
        )
    if isinstance(value, Mapping | bytes) or np.ndim(value) != 1:
        raise DataError(
            f"{argument} is a {type(value).__name__} where a list of columns is expected.",
            remedy=f'{argument}=["column"], or None.',
        )
    columns = list(value)
    wrong = [column for column in columns if not isinstance(column, str)]
    if wrong:
        raise DataError(
            f"{argument} holds {wrong[0]!r}, which is no name of a column.",
            remedy=f"{argument}={[str(column) for column in columns]!r}, if these are columns.",
        )
    repeated = [column for k, column in enumerate(columns) if column in columns[:k]]
    if repeated:
        remedy = f"{argument}={list(dict.fromkeys(columns))!r}"
        raise DataError(
            f"{argument} names {repeated[0]!r} {columns.count(repeated[0])} times.",
            remedy=remedy,
            code=[remedy],
        )
    return columns


def _check_exists(key: str, existing: Iterable[Any], argument: str, kind: str) -> None:
    names = [str(name) for name in existing]
    if key in names:
        return
    names = user_columns(names)
    close = nearest(key, names)
    problem = f"{argument}={key!r}: there is no such {kind}."
    if len(names) <= SHORT_LIST:
        problem += f" There are: {', '.join(map(repr, names))}." if names else " There are none."
    remedy = f"{argument}=None, or the name of one that exists."
    if close:
        remedy = " or ".join(f'{argument}="{name}"' for name in close) + "?"
        remedy = f"did you mean {remedy}"
    raise MissingKeyError(problem, remedy=remedy)


def _check_categories(adata: AnnData, argument: str, column: str) -> None:
    values = adata.obs[column]
    if values.dtype == object and not _works(values.nunique):
        place = column_of(column)
        code = f"{place} = {place}.astype(str)"
        raise DataError(
            f"{argument}: {place} holds values that are no categories, such as "
            f"{shown(values.iloc[0])}.",
            remedy=code,
            code=[code],
        )
    missing = np.flatnonzero(values.isna())
    if not missing.size:
        return
    place = column_of(column)
    problem = f"{argument}: {place} is missing (NaN or None) in {_cells(adata, missing)}."
    n_values = values.nunique()
    if n_values > 2 and n_values > (adata.n_obs - missing.size) / 2:
        problem += (
            f" The others have {n_values:,} values: are these names of cells, not of groups?"
        )
    fill = f'{place} = {place}.astype("string").fillna("unknown").astype("category")'
    drop = taken(adata, f"{place}.notna()")
    raise DataError(
        problem,
        remedy=f"give them a category of their own, {fill}, or drop them, {drop}",
        code=[fill, drop],
    )


def _check_continuous(adata: AnnData, argument: str, column: str) -> None:
    place = column_of(column)
    values = _numbers(adata, argument, column)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        drop = _drop_not_finite(adata, column)
        what = "too large" if np.isfinite(adata.obs[column].astype(float)).all() else "infinite"
        raise DataError(
            f"{argument}: {place} is NaN or {what} in {_cells(adata, bad)}.",
            remedy=f"drop them, {drop}, or fill in values.",
            code=[drop],
        )


def _check_size_factors(adata: AnnData, argument: str, column: str) -> None:
    place = column_of(column)
    values = _numbers(adata, argument, column)
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if bad.size:
        drop = _drop_not_finite(adata, column, " > 0")
        raise DataError(
            f"{argument}: {place} must be positive and finite, but is {values[bad[0]]:g} (the "
            f"first) in {_cells(adata, bad)}.",
            remedy=(
                f"drop them, {drop}; "
                "a size factor multiplies the expected counts, it is not their logarithm."
            ),
            code=[drop],
        )


def _drop_not_finite(adata: AnnData, column: str, condition: str = "") -> str:
    """Return code that drops the cells without a finite value in a column."""
    place = column_of(column)
    finite = f"np.isfinite({place})"
    drop = taken(adata, f"{finite} & ({place}{condition})" if condition else finite)
    if adata.obs[column].hasnans and pd.api.types.is_extension_array_dtype(adata.obs[column]):
        return f"{place} = {place}.astype(float); {drop}"  # whether NA is finite is NA
    return drop


def _numbers(adata: AnnData, argument: str, column: str) -> np.ndarray:
    values = adata.obs[column]
    if not pd.api.types.is_numeric_dtype(values.dtype):
        place = column_of(column)
        code = _as_numbers(values, place)
        ways = list(code)
        if argument == "continuous_covariate_keys":
            ways.append(f"if it names groups, categorical_covariate_keys=[{quoted(column)}]")
        remedy = ", or, ".join(ways) or f"put numbers there, {place} = values"
        raise DataError(
            f"{argument}: {place} has dtype {values.dtype} (first value: {values.iloc[0]!r}), "
            "but numbers are needed.",
            remedy=remedy,
            code=code,
        )
    with np.errstate(over="ignore"):  # as the model reads it: what is too large is infinite
        return values.to_numpy(dtype=float, na_value=np.nan).astype(np.float32)


def _as_numbers(values: pd.Series, place: str) -> list[str]:
    """Return the code that makes numbers of a column, if there is one that works."""
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return [f"{place} = {place} / pd.Timedelta(days=1)"]
    if _works(lambda: values.astype(float)) and not _are_dates(values):
        return [f"{place} = {place}.astype(float)"]
    if _works(lambda: pd.to_datetime(values, format="ISO8601", utc=True)):
        dates = f'pd.to_datetime({place}, format="ISO8601", utc=True)'
        return [f"dates = {dates}; {place} = (dates - dates.min()) / pd.Timedelta(days=1)"]
    return []


def _are_dates(values: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values.dtype)


def _works(convert: Callable[[], Any]) -> bool:
    try:
        convert()
    except (TypeError, ValueError):
        return False
    return True


def _cells(adata: AnnData, positions: np.ndarray) -> str:
    return f"{positions.size:,} of {adata.n_obs:,} cells ({first_few(adata.obs_names[positions])})"


_CHECKS = {
    "batch_key": _check_categories,
    "labels_key": _check_categories,
    "size_factor_key": _check_size_factors,
    "categorical_covariate_keys": _check_categories,
    "continuous_covariate_keys": _check_continuous,
}
