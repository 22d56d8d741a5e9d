"""Cells of several AnnData at once: an ``AnnCollection`` in scvi-tools' ``CollectionAdapter``.

The adapter claims to be an AnnData, with what scvi-tools needs of one. What it lacks, or has in
another form, is made good here: layers that can be listed, matrices with a shape, an ``uns`` of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi.dataloaders import CollectionAdapter

from lucidvi._compat import ArrayFakerSparse
from lucidvi.checks import user_columns
from lucidvi.data.matrices._row_reader import RowReader
from lucidvi.errors import DataError


class CollectionLayer(RowReader):
    """One layer of a collection, ``(n_cells, n_genes)``, of which rows are read.

    Parameters
    ----------
    layer
        What ``adapter.layers[name]`` gives.
    """

    def __init__(self, layer: ArrayFakerSparse) -> None:
        self._collection, self._key = layer.collection, layer.key
        n_cells, n_genes = self._collection.shape
        self.shape = (int(n_cells), int(n_genes))
        self.dtype = self[slice(0, 1)].dtype

    def __getitem__(self, rows: Any) -> sparse.csr_matrix:
        """Return rows, a slice or positions in ascending order, in memory."""
        # A collection leaves out negative positions, and may return unsorted ones in its order.
        positions = np.arange(self.shape[0])[rows]
        return sparse.csr_matrix(self._collection[positions].layers[self._key])


class CollectionLayers(dict[str, Any]):
    """Layers of a collection by name, each made when it is asked for."""

    def __init__(self, adapter: CollectionAdapter) -> None:
        names = adapter.collection[:1].layers.keys()
        super().__init__(dict.fromkeys(name for name in names if name is not None))
        self._layers = adapter.layers

    def __getitem__(self, name: str) -> CollectionLayer:
        """Return the rows of a layer, which scvi-tools reads if they are sparse."""
        try:
            return CollectionLayer(self._layers[name])
        except TypeError as error:
            raise DataError(
                f"adata.layers[{name!r}] is dense in the AnnData that this collection is made "
                "of, and the adapter of scvi-tools reads sparse layers only.",
                remedy=f"for part in adata.collection.adatas: part.layers[{name!r}] = "
                f"scipy.sparse.csr_matrix(part.layers[{name!r}])",
            ) from error


def is_collection(adata: Any) -> bool:
    """Return whether cells are a collection; ``isinstance`` says that they are an AnnData."""
    return issubclass(type(adata), CollectionAdapter)


def as_anndata(adata: Any) -> Any:
    """Return what has the attributes of an AnnData that checks look at: mostly `adata` itself.

    A collection has no X of its own.
    """
    if not is_collection(adata):
        return adata
    names = ("obs", "obs_names", "var_names", "n_obs", "n_vars", "shape", "uns", "isbacked")
    return SimpleNamespace(
        **{name: getattr(adata, name) for name in names},
        var=pd.DataFrame(index=adata.var_names),
        obsm=adata.obsm or {},
        layers=CollectionLayers(adata),
        X=None,
        raw=None,
    )


def complete(adata: Any) -> None:
    """Give a collection a ``var``, and an ``uns`` of its own; other data are left alone.

    scvi-tools keeps one ``uns`` for all collections in a process, and finds a setup by what is in
    it: to it, only the collection that was set up last is set up.
    """
    if is_collection(adata) and "uns" not in vars(adata):
        adata.uns = {}
        adata.var = pd.DataFrame(index=adata.var_names)


def check_can_be_set_up(adata: Any, layer: str | None, covariates: Any) -> None:
    """Raise :class:`DataError` for what scvi-tools' fields cannot register with a collection."""
    if not is_collection(adata):
        return
    if layer is None:
        raise DataError(
            "adata is a collection of several AnnData, which has no X of its own.",
            remedy="keep the counts in a layer of each of them, before the collection is made "
            '(part.layers["counts"] = part.X), and name it: '
            'SCVI.setup_anndata(adata, layer="counts").',
        )
    if covariates and adata.obsm is None:
        raise DataError(
            "adata is a collection without an obsm, where covariates are kept.",
            remedy='make it with AnnCollection(..., join_obsm="inner").',
        )


def restoring(adata: Any) -> Callable[[], None]:
    """Return a function that puts back what registering a collection may change."""
    obs, obsm, uns = adata.obs.copy(), dict(adata.obsm or {}), dict(adata.uns)

    def restore() -> None:
        for added in adata.obs.columns.difference(obs.columns):
            del adata.obs[added]
        for name in obs.columns:
            adata.obs[name] = obs[name]
        for name in [*(adata.obsm or ())]:
            del adata.obsm[name]
        for name, values in obsm.items():
            adata.obsm[name] = values
        adata.uns = uns

    return restore


def collection_in_memory(adata: Any, names: Any = slice(None)) -> AnnData:
    """Read all cells of a collection, or some of their genes, into an AnnData."""
    view = adata.collection[:, names]
    obs = adata.obs[user_columns(adata.obs.columns)].copy()
    layers = {name: view.layers[name] for name in CollectionLayers(adata)}
    obsm = {} if view.obsm is None else dict(view.obsm.to_dict())
    var = pd.DataFrame(index=view.var_names)
    return AnnData(view.X, obs=obs, var=var, layers=layers, obsm=obsm)


def refuse_collection(adata: Any, what: str, remedy: str) -> None:
    """Raise :class:`DataError` if cells are a collection, for which something is impossible."""
    if is_collection(adata):
        raise DataError(f"adata is a collection of several AnnData, {what}.", remedy=remedy)
