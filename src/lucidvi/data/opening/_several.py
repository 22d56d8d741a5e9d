"""Several files of cells as one AnnData, whose counts stay in them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi.checks import check_choice
from lucidvi.data.matrices._collection import is_collection
from lucidvi.data.matrices._joined import JoinedCounts
from lucidvi.data.matrices._layers import layer_names
from lucidvi.data.matrices._stored import JOINED, has_rows_elsewhere
from lucidvi.data.modalities._panels import Panels
from lucidvi.data.modalities._registered import (
    JoinedModality,
    is_joined,
    read_modalities,
    write_modalities,
)
from lucidvi.errors import DataError, FileError, first_few

#: Ways to join genes, as of ``anndata.concat``.
JOINS = ("outer", "inner")


def joined(
    cells: Mapping[str, AnnData],
    join: str,
    label: str | None,
    index_unique: str | None,
) -> AnnData:
    """Return the cells of several AnnData as one, with counts that stay where they are.

    Parameters
    ----------
    cells
        The AnnData, in memory or in files, by a name.
    join, label, index_unique
        See :func:`lucidvi.data.open_cells`.
    """
    check_choice("join", join, JOINS)
    for name, part in cells.items():
        if not part.var_names.is_unique:
            twice = part.var_names[part.var_names.duplicated()].unique()
            raise DataError(
                f"{name} has genes whose names are not unique: {first_few(twice)}.",
                remedy="write it with names that are, adata.var_names_make_unique().",
            )
    genes = _genes([part.var_names for part in cells.values()], join)
    if len(genes) == 0:
        raise DataError(
            f"The {len(cells)} files have no gene in common.",
            remedy='give genes the same names in all of them, or join="outer".',
        )
    obs = _obs(cells, label, index_unique)
    columns = {name: genes.get_indexer(part.var_names) for name, part in cells.items()}
    layers = [layer_names(part) for part in cells.values()]
    common = [name for name in layers[0] if all(name in names for names in layers)]
    whole = AnnData(
        _joined(cells, columns, len(genes), None),
        obs=obs,
        var=pd.DataFrame(index=genes),
        layers={name: _joined(cells, columns, len(genes), name) for name in common},
    )
    measured = np.stack([np.isin(np.arange(len(genes)), own) for own in columns.values()])
    if not measured.all():
        codes = np.repeat(np.arange(len(cells), dtype=np.int32), [c.n_obs for c in cells.values()])
        _say_what_was_measured(whole, Panels(codes, measured).tidy())
    return whole


def can_stay(adata: AnnData) -> bool:
    """Return whether genes of cells can be taken without reading a count.

    Parameters
    ----------
    adata
        The cells, all of whose matrices must be in files, and dask installed.
    """
    if adata.is_view or importlib.util.find_spec("dask") is None or is_collection(adata):
        return False
    matrices = [adata.X, *(adata.layers[name] for name in layer_names(adata))]
    return all(matrix is None or has_rows_elsewhere(matrix) for matrix in matrices)


def of_genes(adata: AnnData, names: pd.Index) -> AnnData:
    """Return cells with some of their genes, in this order, without reading a count.

    Parameters
    ----------
    adata
        Cells in files, no view.
    names
        Names of genes that they have.
    """
    columns = adata.var_names.get_indexer(names)
    modalities = read_modalities(adata) if is_joined(adata) else {}

    def taken(matrix: Any) -> Any:
        if matrix is None:
            return None
        whole = getattr(matrix, JOINED, None)
        if whole is None:
            whole = JoinedCounts([matrix], [np.arange(adata.n_vars)], adata.n_vars)
        return whole.of_columns(columns).as_dask()

    cells = AnnData(
        taken(adata.X),
        obs=adata.obs.copy(),
        var=adata.var.iloc[columns].copy(),
        uns=dict(adata.uns),
        obsm=dict(adata.obsm),
        layers={name: taken(adata.layers[name]) for name in layer_names(adata)},
    )
    for genes in modalities.values():
        panels = Panels(genes.panels.codes, genes.panels.table[:, columns]).tidy()
        _say_what_was_measured(cells, panels)
    return cells


def named(paths: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return paths by a name: their own, or that of the file, which has to be unique.

    Parameters
    ----------
    paths
        Paths, or paths by name.
    """
    if isinstance(paths, Mapping):
        named_paths = {str(name): path for name, path in paths.items()}
    else:
        named_paths = {os.path.basename(os.fspath(path)): path for path in paths}
    if not len(paths):
        raise FileError("There is no file in the list.", remedy="give at least one path.")
    if len(named_paths) < len(paths):
        raise FileError(
            "Several of the files have one name.",
            remedy='give each another, {"lung": "1/cells.h5ad", "gut": "2/cells.h5ad"}.',
        )
    return named_paths


def _genes(names: list[pd.Index], join: str) -> pd.Index:
    """Return the genes of all, in the order in which they first occur."""
    first = names[0]
    if join == "inner":
        return first[np.logical_and.reduce([first.isin(other) for other in names])]
    return pd.Index(np.concatenate([np.asarray(own) for own in names])).unique()


def _joined(
    cells: Mapping[str, AnnData], columns: Mapping[str, Any], n_genes: int, layer: str | None
) -> Any:
    matrices = [part.X if layer is None else part.layers[layer] for part in cells.values()]
    if any(matrix is None for matrix in matrices):
        return None
    return JoinedCounts(matrices, list(columns.values()), n_genes).as_dask()


def _obs(cells: Mapping[str, AnnData], label: str | None, index_unique: str | None) -> Any:
    """Return the tables below each other: in memory, where anndata keeps types and categories."""
    names = pd.Index(np.concatenate([np.asarray(part.obs_names) for part in cells.values()]))
    if index_unique is None and not names.is_unique:
        twice = names[names.duplicated()].unique()
        raise DataError(
            f"{len(twice):,} names of cells occur in several files: {first_few(twice)}.",
            remedy='open_cells(paths, index_unique="-"), which adds the name of the file to each.',
        )
    tables = {name: AnnData(obs=part.obs) for name, part in cells.items()}
    return anndata.concat(tables, join="outer", label=label, index_unique=index_unique).obs


def _say_what_was_measured(adata: AnnData, panels: Panels) -> None:
    genes = JoinedModality("rna", "rna", True, adata.var_names, panels, needs_counts=True)
    write_modalities(adata, {genes.name: genes})
