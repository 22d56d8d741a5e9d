"""Remedies as code: what to paste so that a model reads the right matrix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi.data._columns import ARGUMENTS

#: Names for a layer that a remedy makes.
NEW_LAYERS = ("counts", "raw_counts", "counts_from_raw")


def quoted(value: Any) -> str:
    """Return an argument as code, text in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(quoted, value))}]"
    return repr(value)


def place_of(layer: str | None) -> str:
    """Return the code by which a layer is reached; None is ``X``."""
    return "adata.X" if layer is None else f"adata.layers[{quoted(layer)}]"


def column_of(column: str) -> str:
    """Return the code by which a column of the cells is reached."""
    return f"adata.obs[{quoted(column)}]"


def call(function: str, arguments: Mapping[str, Any]) -> str:
    """Return code that calls a function of `adata`, with the arguments that are not None."""
    text = [f"{name}={quoted(value)}" for name, value in arguments.items() if value is not None]
    return f"{function}({', '.join(['adata', *text])})"


@dataclass(frozen=True)
class Reader:
    """Whoever reads counts, and how it is told where they are.

    Parameters
    ----------
    setup_args
        Arguments of ``setup_anndata``, which a remedy repeats, but for the layer.
    layer
        The layer that is read; None for ``X``.
    is_bound
        Whether the place is that of a model that exists, so that other values have to be put
        there: ``setup_anndata`` is not called again.
    """

    setup_args: Mapping[str, Any] = field(default_factory=dict)
    layer: str | None = None
    is_bound: bool = False

    def reads(self, layer: str | None) -> str:
        """Return the code after which the counts of a layer are read."""
        if self.is_bound:
            return f"{place_of(self.layer)} = {place_of(layer)}"
        return self.setup(layer=layer)

    def setup(self, **changes: Any) -> str:
        """Return a call of ``setup_anndata`` with the same arguments, but for some."""
        arguments = {name: self.setup_args.get(name) for name in ARGUMENTS} | changes
        return call("SCVI.setup_anndata", arguments)

    def reads_raw(self, adata: AnnData) -> str:
        """Return the code after which the counts of ``adata.raw`` are read."""
        names = adata.raw.var_names
        if adata.var_names.isin(names[~names.duplicated(keep=False)]).all():
            return self._reads_columns_of_raw(adata, names.is_unique)
        load = "adata = adata.to_memory(); " if is_on_disk(adata) else ""
        take = "adata = adata.raw.to_adata(); adata.var_names_make_unique()"
        if self.is_bound:
            if self.layer is not None:
                take += f"; {place_of(self.layer)} = adata.X"
            return f"{load}{take}"
        return f"{load}{take}; {self.setup(layer=None)}"

    def _reads_columns_of_raw(self, adata: AnnData, is_unique: bool) -> str:
        columns = "adata.raw[:, adata.var_names].X"
        if is_on_disk(adata) or not is_unique:
            columns = "adata.raw.X[:, adata.raw.var_names.get_indexer_for(adata.var_names)]"
        if self.is_bound:
            return f"{loading(adata, self.layer)}{place_of(self.layer)} = {columns}"
        name = next(name for name in (*NEW_LAYERS, "counts_") if name not in adata.layers)
        return f"{place_of(name)} = {columns}; {self.setup(layer=name)}"

    def rounds(self, adata: AnnData, offset: float = 0.0) -> str:
        """Return the code that rounds the values that are read, less an offset."""
        place = place_of(self.layer)
        values = place if not offset else f"{place} - {offset:.6g}"
        return f"{loading(adata, self.layer)}{place} = np.rint({values})"


def is_on_disk(adata: AnnData, layer: str | None = None) -> bool:
    """Return whether a matrix is in a file, where numpy and scipy cannot compute with it."""
    if getattr(adata, "is_view", False):  # whose matrices are read when they are asked for
        adata = adata._adata_ref
    matrix = adata.X if layer is None else adata.layers.get(layer)
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        return False
    return type(matrix).__module__.partition(".")[0] in ("anndata", "h5py", "zarr")


def loading(adata: AnnData, layer: str | None = None) -> str:
    """Return code that comes first where a file's matrix could not be replaced."""
    return "adata = adata.to_memory(); " if is_on_disk(adata, layer) else ""


def taken(adata: AnnData, selection: str) -> str:
    """Return code that keeps some cells or genes, of a backed AnnData too."""
    copy = "to_memory" if is_on_disk(adata) else "copy"
    return f"adata = adata[{selection}].{copy}()"
