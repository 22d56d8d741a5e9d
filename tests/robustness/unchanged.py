"""Whether cells are as they were: a value that two of them share if they are the same."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse


def print_of(value: Any) -> Any:
    """Return what tells whether a value, however deep, is the same."""
    if isinstance(value, MuData):
        return {key: print_of(part) for key, part in value.mod.items()} | {
            "obs": print_of(value.obs),
            "uns": print_of(dict(value.uns)),
        }
    if isinstance(value, AnnData):
        return {
            "X": print_of(value.X),
            "layers": {key: print_of(value.layers[key]) for key in value.layers},
            "obsm": {key: print_of(value.obsm[key]) for key in value.obsm},
            "obs": print_of(value.obs),
            "var": print_of(value.var),
            "uns": print_of(dict(value.uns)),
        }
    if isinstance(value, pd.DataFrame):
        columns = {str(key): print_of(value.iloc[:, i]) for i, key in enumerate(value.columns)}
        return columns | {"": print_of(value.index)}
    if isinstance(value, pd.Series | pd.Index):
        return str(value.dtype), str(value.name), repr(list(value))
    if sparse.issparse(value):
        # scipy sorts them in place when it compares matrices.
        row = np.repeat(np.arange(len(value.indptr) - 1), np.diff(value.indptr))
        order = np.lexsort((value.data, value.indices, row))
        parts = [value.data[order], value.indices[order], value.indptr]
        return type(value).__name__, value.shape, *(print_of(part) for part in parts)
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()).encode() if value.dtype.char in "Og" else value.tobytes()
        return str(value.dtype), value.shape, hashlib.sha256(content).hexdigest()
    if isinstance(value, dict):
        return {str(key): print_of(entry) for key, entry in value.items()}
    return repr(value)
