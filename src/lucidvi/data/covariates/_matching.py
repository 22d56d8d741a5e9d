"""A query's columns as the categories of a model: the one rule for all ways in, and its errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.checks import nearest
from lucidvi.data._remedies import column_of
from lucidvi.data.covariates._equality import (
    AmbiguousError,
    Categories,
    category_text,
    distinct_values,
    extended,
    kind_of,
    plain_category,
)
from lucidvi.errors import DataError, MissingKeyError, first_few

CONTINUOUS = "continuous_covariate_keys"
#: Arguments that name one column of categories, by the key of the field that they make.
OF_FIELDS = {"batch": "batch_key", "labels": "labels_key"}
#: Most values that a line of code in a remedy lists.
LISTED = 20
NEW_BATCHES = (
    "; new batches are learned by `model = SCVI.load_query_data(adata, model)` and a training, or "
    "by `lucidvi.atlas.Reference.from_model(model, labels_key=...).map(adata)`"
)


@dataclass(frozen=True)
class Column:
    """A column of categories, for messages.

    Parameters
    ----------
    key
        Its name in ``adata.obs``.
    argument
        The argument of ``setup_anndata`` that names it, such as ``"batch_key"``.
    """

    key: str
    argument: str

    @property
    def place(self) -> str:
        """Where it is, as code."""
        return column_of(self.key)

    def __str__(self) -> str:
        return f"{self.place} ({self.argument})"

    def renamed(self, names: Mapping[str, str]) -> str:
        """Return the line of code that gives values other names."""
        listed = dict(list(names.items())[:LISTED])
        return f"{self.place} = {self.place}.astype(str).replace({listed!r})"


def matched_codes(
    values: Any, categories: Any, column: Column, *, extend: bool = False
) -> tuple[NDArray[np.integer], NDArray[Any]]:
    """Return the code of each value in a model's categories, whatever the dtypes of the two.

    Parameters
    ----------
    values
        The query's column, none missing, shape ``(n_cells,)``.
    categories
        The model's categories.
    column
        What it is called.
    extend
        Whether values that equal none become categories behind the others.

    Returns
    -------
    Codes, shape ``(n_cells,)``, and the categories, with the new ones.

    Raises
    ------
    lucidvi.errors.DataError
        If a value is missing or equals several categories, if two texts of the query equal the
        same one, if a value equals none and ``extend`` is False, or if it equals none but can be
        read as one.
    """
    codes, distinct = distinct_values(values)
    if (codes < 0).any():
        raise DataError(
            f"{column} is missing (NaN or None) in {int((codes < 0).sum()):,} cells.",
            remedy=f"leave them out, adata = adata[{column.place}.notna()].copy()",
        )
    categories = np.asarray(categories)
    table = Categories(list(categories))
    positions = _positions(distinct, table, column)
    strange = [value for value, at in zip(distinct, positions, strict=True) if at < 0]
    if strange:
        _check_resembling(strange, table, column)
        if not extend:
            raise _unknown(strange, distinct, table, column)
        categories = extended(categories, strange)
        positions = _positions(distinct, Categories(list(categories)), column)
    return positions[codes], categories


def category_codes(values: Any, categories: Any, argument: str) -> NDArray[np.integer]:
    """Return the codes of values of an argument, such as ``transform_batch``.

    Parameters
    ----------
    values
        One category or several, of any dtype.
    categories
        The model's categories.
    argument
        What the argument is called.

    Raises
    ------
    lucidvi.errors.DataError
        If a value equals no category, or several; the nearest are named.
    """
    scalar = np.ndim(values) == 0
    if scalar:
        values = [values[()] if isinstance(values, np.ndarray) else values]
    codes, distinct = distinct_values(values)
    table = Categories(list(np.asarray(categories)))
    if (codes < 0).any():
        raise DataError(
            f"`{argument}` has a value that is missing (NaN or None).",
            remedy=f"It knows {_shown(table.values)}.",
        )
    positions = []
    for value in distinct:
        try:
            positions.append(table.position(value))
        except AmbiguousError as error:
            raise DataError(
                f"`{argument}` is {_shown([value])}, which equals each of the model's categories "
                f"{_shown(error.categories)}.",
                remedy=f"{argument}={plain_category(error.categories[0])!r}",
            ) from error
    strange = [value for value, at in zip(distinct, positions, strict=True) if at < 0]
    if strange:
        raise DataError(
            f"`{argument}` is {_shown(strange)}, which the model does not know.",
            remedy=f"{_did_you_mean(strange[0], table, argument)}It knows {_shown(table.values)}.",
        )
    of_values = np.array(positions, dtype=np.int64)[codes]
    return of_values[0] if scalar else of_values


def check_distinct(values: pd.Series, column: Column) -> None:
    """Raise :class:`DataError` for a column that mixes text with others, such as "1" with 1.

    Of covariates only if some are equal: scvi-tools sorts batches and labels, which it cannot.
    """
    dtype = getattr(values.dtype, "categories", values).dtype
    if not pd.api.types.is_object_dtype(dtype):
        return
    distinct = distinct_values(values)[1]
    texts = [value for value in distinct if isinstance(plain_category(value), str)]
    others = [value for value in distinct if not isinstance(plain_category(value), str)]
    equal = [value for value in others if _equals_any(value, Categories(texts))]
    is_covariate = column.argument == "categorical_covariate_keys"
    if equal or (texts and others and not is_covariate):
        same = f", and {_shown(equal[:1])} is there as text, too" if equal else ""
        raise DataError(
            f"{column} mixes {kind_of(distinct)}{same}.",
            remedy="from lucidvi.data import category_texts; "
            f"{column.place} = category_texts({column.place})",
        )


def check_columns_of_query(obs: Any, registry: Mapping[str, Any]) -> None:
    """Raise :class:`MissingKeyError` for a column that a model was set up with and cells lack."""
    for column, categories in _categorical_columns(registry):
        if column.key not in obs.columns:
            raise _missing(obs, column, categories)
    arguments = registry["setup_args"] or {}
    numbers = [(key, CONTINUOUS) for key in arguments.get(CONTINUOUS) or []]
    if arguments.get("size_factor_key") is not None:
        numbers.append((arguments["size_factor_key"], "size_factor_key"))
    for key, argument in numbers:
        if key not in obs.columns:
            raise _missing(obs, Column(key, argument), None)


def in_categories_of(adata: AnnData, registry: Mapping[str, Any]) -> AnnData:
    """Return data whose columns hold a model's own categories, for who compares them by dtype.

    Parameters
    ----------
    adata
        Cells that are registered with the model.
    registry
        The model's.

    Returns
    -------
    `adata` itself if it has them, else a copy.
    """
    replaced = {}
    for column, categories in _categorical_columns(registry):
        distinct = distinct_values(adata.obs[column.key])[1]
        if not _typed(distinct) <= _typed(categories):
            codes, _ = matched_codes(adata.obs[column.key], categories, column)
            replaced[column.key] = np.asarray(categories)[codes]
    if not replaced:
        return adata
    adata = adata.copy()
    for key, values in replaced.items():
        adata.obs[key] = values
    return adata


def _typed(values: Iterable[Any]) -> set[tuple[type, Any]]:
    """Return values with their types, so that 1 is not True."""
    return {(type(plain), plain) for plain in map(plain_category, values)}


def _categorical_columns(registry: Mapping[str, Any]) -> Iterator[tuple[Column, Any]]:
    """Yield the columns of categories that a model was set up with, and the categories."""
    arguments, fields = registry["setup_args"] or {}, registry["field_registries"]
    for field, argument in OF_FIELDS.items():
        if arguments.get(argument) is not None:
            state = fields.get(field, {}).get("state_registry", {})
            yield Column(arguments[argument], argument), state.get("categorical_mapping")
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry") or {}
    for key in arguments.get("categorical_covariate_keys") or []:
        yield Column(key, "categorical_covariate_keys"), covariates.get("mappings", {}).get(key)


def _positions(distinct: list[Any], table: Categories, column: Column) -> NDArray[np.integer]:
    """Return the position of each value, -1 for one that equals no category."""
    positions: list[int] = []
    for value in distinct:
        try:
            positions.append(table.position(value))
        except AmbiguousError as error:
            raise DataError(
                f"{column} holds {_shown([value])}, which equals each of the model's categories "
                f"{_shown(error.categories)}.",
                remedy="say which one is meant: "
                + column.renamed({str(value): category_text(error.categories[0])}),
            ) from error
    texts: dict[int, str] = {}
    for value, at in zip(distinct, positions, strict=True):
        text = plain_category(value)
        if at >= 0 and isinstance(text, str) and texts.setdefault(at, text) != text:
            raise DataError(
                f"{column} holds {_shown([texts[at], text])}, both of which equal the model's "
                f"{_shown([table.values[at]])}.",
                remedy=f"if they are the same, {column.renamed({text: texts[at]})}; else give one "
                "of them another name.",
            )
    return np.array(positions, dtype=np.int64)


def _check_resembling(strange: list[Any], table: Categories, column: Column) -> None:
    """Raise for values that are spelled otherwise than categories that they may be meant for."""
    pairs = [(value, alike[0]) for value in strange if (alike := table.resembling(value))]
    if not pairs:
        return
    values, meant = zip(*((value, table.values[at]) for value, at in pairs), strict=True)
    texts = [str(plain_category(value)) for value in values]
    same = dict(zip(texts, map(category_text, meant), strict=True))
    raise DataError(
        f"{column} holds {_shown(values)}, and the model has {_shown(meant)}: not equal, but it "
        "seems that the same is meant.",
        remedy=f"if it is the same, {column.renamed(same)} ; if not, "
        f"{column.renamed({text: f'query {text}' for text in texts})}",
    )


def _unknown(
    strange: list[Any], distinct: list[Any], table: Categories, column: Column
) -> DataError:
    what = "a category" if len(strange) == 1 else "categories"
    kept = [plain_category(value) for value in distinct if table.position(value) >= 0]
    remedy = f"give the cells categories that the model knows, {column.place} = ..."
    if kept and len(kept) <= LISTED:
        remedy = f"leave these cells out, adata = adata[{column.place}.isin({kept!r})].copy()"
    if column.argument == "batch_key":
        remedy += NEW_BATCHES
    return DataError(
        f"{column} holds {_shown(strange)}, {what} not found in source registry: the model knows "
        f"{_shown(table.values)}.",
        remedy=_did_you_mean(strange[0], table) + remedy,
    )


def _did_you_mean(value: Any, table: Categories, argument: str | None = None) -> str:
    """Return the categories spelled most like a value, as code where an argument is meant."""
    by_text = {category_text(category): category for category in table.values}
    close = nearest(category_text(value), list(by_text))
    code = [repr(plain_category(by_text[text])) for text in close]
    if argument is not None:
        code = [f"{argument}={text}" for text in code]
    return f"did you mean {' or '.join(code)}? " if code else ""


def _missing(obs: Any, column: Column, categories: Any) -> MissingKeyError:
    remedy = f"add the column, {column.place} = ..."
    if categories is not None:
        first = plain_category(np.asarray(categories)[0])
        among = "the only" if len(categories) == 1 else "one"
        remedy = (
            f"add the column; if all cells are of {among} category: {column.place} = {first!r}"
        )
    close = nearest(column.key, list(obs.columns))
    if close:
        remedy = f"{column.place} = {column_of(close[0])}"
    return MissingKeyError(
        f"adata.obs has no column {column.key!r}, which the model was set up with "
        f"({column.argument}={column.key!r}). It has: {first_few(obs.columns) or 'none'}.",
        remedy=remedy,
    )


def _equals_any(value: Any, table: Categories) -> bool:
    try:
        return table.position(value) >= 0
    except AmbiguousError:
        return True


def _shown(values: Iterable[Any]) -> str:
    """Return a few values as code, with their kind, as in ``1, 2 (integers)``."""
    values = list(values)
    shown = ", ".join(repr(plain_category(value)) for value in values[:5])
    return f"{shown}{', ...' if len(values) > 5 else ''} ({kind_of(values)})"
