"""What was asked for and what is assumed, kept with the cells that came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import lucidvi

#: Where the record is, in ``uns`` of every simulated AnnData.
RECORD = "lucidvi_simulation"
#: What is written as an array.
ARRAYS = (
    list,
    tuple,
    range,
    np.ndarray,
    pd.Series,
    pd.Index,
    pd.api.extensions.ExtensionArray,
)


def recorded(
    adata: AnnData, function: str, request: Mapping[str, Any], assumptions: Sequence[str]
) -> AnnData:
    """Write into simulated cells how they were made, and return them.

    Parameters
    ----------
    adata
        The cells; they get ``uns["lucidvi_simulation"]``.
    function
        Name of the function, such as ``"sample_cells"``.
    request
        Every argument by name, the seed among them. What a file could not hold is replaced: None
        by the text ``"None"``, an AnnData by a line that says its size, ``/`` in a key by ``%2F``.
    assumptions
        What has to hold for the result to mean what it says, in whole sentences.

    Returns
    -------
    The same object.
    """
    adata.uns[RECORD] = {
        "function": function,
        "request": {_key(name): _storable(value) for name, value in request.items()},
        "assumptions": np.array(assumptions, dtype=object),
        "lucidvi_version": lucidvi.__version__,
    }
    return adata


def _storable(value: Any) -> Any:
    """Return a value as h5ad can hold it."""
    if isinstance(value, Mapping):
        return {_key(name): _storable(part) for name, part in value.items()}
    if isinstance(value, AnnData):
        return f"AnnData of {value.n_obs} cells and {value.n_vars} genes"
    if isinstance(value, (bool, int, float, str, np.generic, pd.DataFrame)):
        return value
    if sparse.issparse(value):
        return sparse.csr_matrix(value)
    if isinstance(value, ARRAYS):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else array.astype(str).astype(object)
    return str(value)


def _key(name: Any) -> str:
    """Name of a group in a file, where a slash would make two."""
    return str(name).replace("/", "%2F")
