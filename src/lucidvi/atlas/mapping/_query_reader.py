"""Remedies for a query's counts: calls of ``Reference.map``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anndata import AnnData

from lucidvi.data import Reader, call, place_of


@dataclass(frozen=True)
class QueryReader(Reader):
    """``Reference.map``, and how it is told where a query's counts are.

    Parameters
    ----------
    setup_args, layer, is_bound
        See :class:`lucidvi.data.Reader`.
    arguments
        Other arguments of the call, which a remedy repeats.
    own_layer
        Layer that is read if none is named; None for ``X``.
    """

    is_bound: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    own_layer: str | None = None

    def reads(self, layer: str | None) -> str:
        """Return the code after which the counts of a layer are read."""
        if layer is None and self.own_layer is not None:
            return f"{place_of(self.own_layer)} = adata.X"
        return call("reference.map", {**self.arguments, "layer": layer})

    def reads_raw(self, adata: AnnData) -> str:
        """Return the code after which the counts of ``adata.raw`` are read."""
        return call("reference.map", {**self.arguments, "layer": "raw"})
