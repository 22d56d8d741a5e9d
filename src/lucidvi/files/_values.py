"""The values of a model as plain data, and back."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from lucidvi.data import category_texts, plain_category
from lucidvi.errors import FileError
from lucidvi.files._activations import ACTIVATIONS, name_of

#: Types of categories that their text stands for.
AS_TEXT = (pd.Interval, pd.Timestamp, pd.Timedelta, pd.Period, datetime.date, datetime.datetime)


def plain_value(value: Any, name: str) -> Any:
    """Return the same value of types that ``torch.load(weights_only=True)`` accepts.

    These are numbers, strings, lists, tuples, sets, dictionaries, tensors, and NumPy's arrays of
    numbers and strings. Arrays of pandas become arrays of NumPy.

    Parameters
    ----------
    value
        Value of an attribute of a model.
    name
        Name of the attribute, for the message.

    Raises
    ------
    FileError
        If there is anything else inside. It names the place.
    """
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(value, name)
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        return _plain_array(np.asarray(value), name)
    if isinstance(value, Mapping):
        return {
            plain_value(key, f"a key of {name}"): plain_value(entry, f"{name}[{key!r}]")
            for key, entry in value.items()
        }
    for kind in (list, tuple, set):
        if isinstance(value, kind):
            return kind(plain_value(entry, f"{name}[{i}]") for i, entry in enumerate(value))
    raise _unstorable(value, name)


def _plain_array(value: Any, name: str) -> Any:
    if value.dtype.kind in "biufcSU":
        return value if isinstance(value, np.generic) else np.array(value)
    if value.dtype.kind != "O":
        raise _unstorable(value, name)
    array = np.empty(value.shape, dtype=object)
    for place in np.ndindex(value.shape):
        array[place] = plain_value(value[place], f"{name}{list(place)}")
    return array


def _unstorable(value: Any, name: str) -> FileError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if name.startswith("init_params_") and callable(value):
        return FileError(
            f"The model was made with `{name}` = {value!r}, a function that cannot be saved "
            "without code.",
            remedy=f"use one of the functions that are saved by name: {', '.join(ACTIVATIONS)}.",
        )
    if "['field_registries']" in name:
        return FileError(
            f"The model was set up with categories of a kind ({kind}) that cannot be saved: "
            f"`{name}`.",
            remedy="set up a model with the column as text, "
            "adata.obs[column] = adata.obs[column].astype(str), and train it.",
        )
    return FileError(
        f"`{name}` of the model is a {kind}, which is not plain data and cannot be saved.",
        remedy="set it to numbers, strings, arrays or containers of these, or to None.",
    )


def named_functions(value: Any) -> Any:
    """Return arguments of a model with each known activation replaced by its name."""
    if isinstance(value, Mapping):
        return {key: named_functions(entry) for key, entry in value.items()}
    return name_of(value) or value if callable(value) else value


def functions_by_name(value: Any) -> Any:
    """Undo :func:`named_functions`."""
    if isinstance(value, Mapping):
        return {key: functions_by_name(entry) for key, entry in value.items()}
    return ACTIVATIONS.get(value, value) if isinstance(value, str) else value


def plain_registry(registry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a registry of which categories that are dates or intervals are text.

    A query's dates and intervals equal their text, see :mod:`lucidvi.data.covariates._equality`.

    Raises
    ------
    FileError
        If categories can be saved neither so nor as they are. It names the column.
    """
    fields = {}
    for key, field in registry.get("field_registries", {}).items():
        state = dict(field.get("state_registry") or {})
        if state.get("categorical_mapping") is not None:
            column = state.get("original_key", key)
            state["categorical_mapping"] = _storable(state["categorical_mapping"], column)
        if state.get("mappings") is not None:
            state["mappings"] = {k: _storable(v, k) for k, v in state["mappings"].items()}
        fields[key] = {**field, "state_registry": state}
    return {**registry, "field_registries": fields} if fields else dict(registry)


def _storable(categories: Any, column: str) -> Any:
    kinds = {type(plain_category(value)) for value in np.asarray(categories)}
    if kinds <= {bool, int, float, str}:
        return categories
    if kinds <= {bool, int, float, str, *AS_TEXT}:
        return category_texts(pd.Series(list(np.asarray(categories)), dtype=object))
    place = f'adata.obs["{column}"]'
    names = ", ".join(sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds))
    raise FileError(
        f"The model has categories of the column {place} that are no numbers or text ({names}) "
        "and cannot be saved without code.",
        remedy=f"{place} = {place}.astype(str), set the data up again and train a new model.",
    )


def plain_frame(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return a table as ``{"index": ..., "index_name": ..., "columns": {name: values}}``."""
    if not (isinstance(frame, pd.DataFrame) and frame.columns.is_unique):
        raise _unstorable(frame, name)
    return {
        "index": _plain_array(frame.index.to_numpy(), f"{name}.index"),
        "index_name": plain_value(frame.index.name, f"{name}.index.name"),
        "columns": {
            plain_value(column, f"{name}.columns"): _plain_array(
                values.to_numpy(), f"{name}[{column!r}]"
            )
            for column, values in frame.items()
        },
    }


def frame_of(plain: Mapping[str, Any]) -> pd.DataFrame:
    """Undo :func:`plain_frame`; raise :class:`ValueError` for anything else."""
    if not isinstance(plain, Mapping):
        raise ValueError(f"a table of the history is a {type(plain).__name__}")
    index = pd.Index(plain["index"], name=plain["index_name"])
    return pd.DataFrame(dict(plain["columns"]), index=index)
