"""Where an AnnData keeps matrices: ``X``, layers, and ``raw``."""

from __future__ import annotations

from typing import Any

from anndata import AnnData

#: What ``layer`` is called where ``adata.raw`` is meant.
RAW = "raw"


def layer_names(adata: AnnData) -> list[str]:
    """Return the names of the layers; anndata 0.13 lists ``X`` among them, as None."""
    return [name for name in adata.layers if name is not None]


def matrix_of(adata: AnnData, layer: str | None) -> Any:
    """Return the matrix of a layer; None is ``X``."""
    return adata.X if layer is None else adata.layers[layer]


def is_raw(adata: AnnData, layer: str | None) -> bool:
    """Return whether a layer means ``adata.raw``: it is called so, and no layer is."""
    return layer == RAW and layer not in adata.layers and adata.raw is not None


def of_raw(adata: AnnData) -> AnnData:
    """Return the cells with the matrix and the genes of ``adata.raw``, which stays where it is."""
    return AnnData(adata.raw.X, obs=adata.obs, var=adata.raw.var)
