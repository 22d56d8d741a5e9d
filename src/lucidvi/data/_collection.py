"""Cells of several AnnData at once: an ``AnnCollection`` in scvi-tools' ``CollectionAdapter``.

The adapter claims to be an AnnData, with what scvi-tools needs of one. What it lacks, or has in
another form, is made good here: layers that can be listed, matrices with a shape, an ``uns`` of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi.dataloaders import CollectionAdapter

from lucidvi._compat import ArrayFakerSparse
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Values, zeros included, that are read at once.
CHUNK = 2**25


class CollectionLayer(ArrayFakerSparse):
    """One layer of a collection, ``(n_cells, n_genes)``, of which rows are read.

    It is a ``csr_matrix`` in name only, as scvi-tools' own is. Indexed by rows (positions in any
    order, repeated or negative ones, a mask, a slice), it gives them as a ``csr_matrix``.

    Parameters
    ----------
    layer
        What ``adapter.layers[name]`` gives.
    """

    def __init__(self, layer: ArrayFakerSparse) -> None:
        super().__init__(layer.collection, layer.key)
        self._shape = tuple(int(length) for length in self.collection.shape)

    def __getitem__(self, rows: Any) -> sparse.csr_matrix:
        """Return some of the rows, in memory."""
        # A collection leaves out negative positions, and may return unsorted ones in its order.
        rows = np.atleast_1d(positions(rows, self._shape[0]))
        distinct, back = np.unique(rows, return_inverse=True)
        values = sparse.csr_matrix(self.collection[distinct].layers[self.key])
        return values if len(distinct) == len(rows) and (np.diff(rows) > 0).all() else values[back]

    def parts(self) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield all rows, some at a time, each time with the position of the first."""
        n_cells, n_genes = self._shape
        step = max(1, CHUNK // max(1, n_genes))
        for first in range(0, n_cells, step):
            yield first, self[slice(first, first + step)]

    def sum(self, axis: int | None = None, **kwargs: Any) -> Any:
        """Add up all values, those of each gene (``axis=0``) or of each cell (``axis=1``)."""
        sums = [part.sum(axis=axis, **kwargs) for _, part in self.parts()]
        return np.concatenate(sums) if axis in (1, -1) else sum(sums[1:], start=sums[0])


def positions(rows: Any, n_rows: int) -> NDArray[np.integer]:
    """Return rows that are positions, a mask or a slice as positions from 0 on."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n_rows))
    rows = np.asarray(rows)
    if rows.dtype == bool:
        return np.flatnonzero(rows)
    outside = (rows < -n_rows) | (rows >= n_rows)
    if outside.any():
        raise IndexError(f"There is no row {rows[outside][0]} among {n_rows:,}.")
    return np.where(rows < 0, rows + n_rows, rows).astype(np.int64)


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
    obs = adata.obs.loc[:, [not str(name).startswith("_scvi") for name in adata.obs]].copy()
    layers = {name: view.layers[name] for name in CollectionLayers(adata)}
    obsm = {} if view.obsm is None else dict(view.obsm.to_dict())
    var = pd.DataFrame(index=view.var_names)
    return AnnData(view.X, obs=obs, var=var, layers=layers, obsm=obsm)


def refuse_collection(adata: Any, what: str, remedy: str) -> None:
    """Raise :class:`DataError` if cells are a collection, for which something is impossible."""
    if is_collection(adata):
        raise DataError(f"adata is a collection of several AnnData, {what}.", remedy=remedy)
