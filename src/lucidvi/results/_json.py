"""Results in the types that JSON has."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

#: Significant digits that are written to JSON.
DIGITS = 6


def jsonable(value: Any) -> Any:
    """Return a value in types that JSON has.

    Arrays become lists, dataclasses and mappings objects, and what is not finite null; numbers
    are rounded to six significant digits. Of a table each column becomes a list, and so does the
    index, under its name or ``"index"``; a Series is a table of one column.
    """
    if isinstance(value, pd.Series):
        value = value.to_frame("value" if value.name is None else value.name)
    if isinstance(value, pd.DataFrame):
        columns = {value.index.name or "index": value.index.tolist()}
        value = columns | {name: column.tolist() for name, column in value.items()}
    if isinstance(value, np.ndarray | np.generic | pd.Index):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value
