"""AnnData whose tables or counts are not in memory, or that anndata cannot subset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from lucidvi.data._remedies import place_of
from lucidvi.data.matrices._collection import collection_in_memory, is_collection
from lucidvi.data.matrices._layers import layer_names
from lucidvi.data.matrices._stored import NUMBERS, StoredCounts, is_dask, is_readable
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def read_tables(adata: AnnData) -> AnnData:
    """Return the cells with tables of pandas in place of lazy ones of xarray.

    Parameters
    ----------
    adata
        The cells, such as those of ``anndata.experimental.read_lazy``; their tables are read in
        place, unless they are a view. Matrices stay lazy.
    """
    if isinstance(adata.obs, pd.DataFrame):
        return adata
    if adata.is_view:
        return with_tables_in_memory(adata)
    adata.obs, adata.var, obsm = _table(adata.obs), _table(adata.var), _obsm(adata)
    adata.obsm = obsm
    return adata


def with_tables_in_memory(adata: AnnData) -> AnnData:
    """Return the cells with tables of pandas, in a new AnnData if they are lazy ones.

    Parameters
    ----------
    adata
        The cells; nothing in it is changed.
    """
    if is_collection(adata):
        return collection_in_memory(adata)
    if isinstance(adata.obs, pd.DataFrame):
        return adata
    return AnnData(
        adata.X,
        obs=_table(adata.obs),
        var=_table(adata.var),
        layers=dict(_layers(adata)),
        obsm=_obsm(adata),
        uns=dict(adata.uns),
        raw=None if adata.raw is None else {"X": adata.raw.X, "var": _table(adata.raw.var)},
    )


def has_to_be_read(adata: AnnData) -> bool:
    """Return whether anndata cannot make a copy of a view of these cells.

    It can of matrices in memory and of dask arrays. Of a file it cannot, it takes some slices of
    sparse matrices in files wrongly, and scipy cannot take rows of all types.

    Parameters
    ----------
    adata
        The cells, or a view of some.
    """
    if is_collection(adata):
        return False
    if adata.isbacked:
        return True
    source = _source(adata)
    matrices = [source.X, *(matrix for _, matrix in _layers(source))]
    return any(
        not (matrix is None or is_readable(matrix) or is_dask(matrix)) for matrix in matrices
    )


def read_genes(adata: AnnData, genes: NDArray[np.integer]) -> AnnData:
    """Return a copy in memory of some genes, in this order, of all cells.

    Parameters
    ----------
    adata
        The cells, or a view of some, in memory or in a file.
    genes
        Positions of the genes.
    """
    source = _source(adata)
    cells, columns = np.arange(source.n_obs), np.arange(source.n_vars)
    if adata.is_view:
        cells, columns = cells[adata._oidx], columns[adata._vidx]
    columns = np.atleast_1d(columns)[genes]
    cells = np.atleast_1d(cells)
    return AnnData(
        _taken(source.X, cells, columns),
        obs=adata.obs.copy(),
        var=adata.var.iloc[genes].copy(),
        uns=dict(adata.uns),
        obsm=dict(adata.obsm),
        varm={key: table[genes] for key, table in _varm(adata)},
        layers={name: _taken(matrix, cells, columns) for name, matrix in _layers(source)},
        obsp=dict(adata.obsp),
    )


def copy_in_memory(adata: AnnData) -> AnnData:
    """Return a copy of cells, or of a view of some, that is in memory but for dask arrays.

    Parameters
    ----------
    adata
        The cells.
    """
    if has_to_be_read(adata):
        return read_genes(adata, np.arange(adata.n_vars))
    return adata.copy()


def check_can_be_written(adata: AnnData) -> None:
    """Raise DataError for a matrix that anndata writes, but cannot read again.

    Parameters
    ----------
    adata
        The cells.
    """
    matrices = {"adata.X": adata.X}
    matrices |= {place_of(name): matrix for name, matrix in _layers(adata)}
    for place, matrix in matrices.items():
        if sparse.issparse(matrix) and not is_readable(matrix):
            raise DataError(
                f"{place} is a sparse matrix of dtype {matrix.dtype.str}, which anndata writes "
                "but cannot read again.",
                remedy=f"{place} = {place}.astype(np.float32)",
            )


def _source(adata: AnnData) -> AnnData:
    """Return what a view is of, or the AnnData itself."""
    return adata._adata_ref if adata.is_view else adata


def _layers(adata: AnnData) -> Iterator[tuple[str, Any]]:
    for name in layer_names(adata):
        yield name, adata.layers[name]


def _table(table: Any) -> pd.DataFrame:
    """Return a table of pandas, of a lazy one with all categories that are stored.

    Anndata leaves out those that no row has, with which a model may have been made.
    """
    if isinstance(table, pd.DataFrame):
        return table
    frame = table.to_memory()
    for name in frame.columns:
        dtype = table[name].dtype
        if isinstance(dtype, pd.CategoricalDtype):
            frame[name] = frame[name].cat.set_categories(dtype.categories, ordered=dtype.ordered)
    return frame


def _obsm(adata: AnnData) -> dict[str, Any]:
    """Return what is in ``obsm``, lazy tables as those of pandas."""
    return {
        key: _table(values) if hasattr(values, "to_memory") else values
        for key, values in adata.obsm.items()
    }


def _varm(adata: AnnData) -> Iterator[tuple[str, Any]]:
    for key, table in adata.varm.items():
        yield key, table.iloc if isinstance(table, pd.DataFrame) else table


def _taken(matrix: Any, cells: NDArray[np.integer], genes: NDArray[np.integer]) -> Any:
    """Return some cells and genes of a matrix; of a dask array, without reading them."""
    if matrix is None:
        return None
    if is_readable(matrix) or is_dask(matrix):
        return matrix[cells][:, genes]
    if matrix.dtype.kind not in NUMBERS:
        raise DataError(
            f"adata holds a sparse matrix of dtype {matrix.dtype}, from which no genes can be "
            "taken; counts must be integers or real numbers.",
            remedy="adata.X = adata.X.astype(np.float32), or of the layer that is meant.",
        )
    taken = StoredCounts(matrix).take(cells, genes)
    return sparse.csr_matrix(taken) if sparse.issparse(taken) else taken
