"""Counts that are kept in ``adata.raw``, as a matrix to read."""

from __future__ import annotations

from anndata import AnnData

#: What ``layer`` is called where ``adata.raw`` is meant.
RAW = "raw"


def is_raw(adata: AnnData, layer: str | None) -> bool:
    """Return whether a layer means ``adata.raw``: it is called so, and no layer is."""
    return layer == RAW and layer not in adata.layers and adata.raw is not None


def of_raw(adata: AnnData) -> AnnData:
    """Return the cells with the matrix and the genes of ``adata.raw``, which stays where it is."""
    return AnnData(adata.raw.X, obs=adata.obs, var=adata.raw.var)
