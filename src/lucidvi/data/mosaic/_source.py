"""Where a modality's counts are, before they are joined: in a MuData, or in an AnnData's obsm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.checks import did_you_mean, listed
from lucidvi.data._remedies import quoted
from lucidvi.data.matrices._layers import layer_names, matrix_of
from lucidvi.data.matrices._stored import in_memory
from lucidvi.data.modalities._panels import Panels
from lucidvi.data.modalities._registered import JoinedModality, is_joined, read_modalities
from lucidvi.data.mosaic._specification import Specification
from lucidvi.errors import DataError, MissingKeyError, first_few


@dataclass(frozen=True, eq=False)
class Source:
    """Counts of one modality, in the cells that it was measured in.

    Parameters
    ----------
    specification
        What was said of it.
    cells
        The AnnData that holds the counts; None of counts in ``obsm``.
    obs_names
        Names of the cells of the modality.
    matrix
        Counts as they are, shape ``(n_cells, n_features)``.
    features
        Names of the features.
    panels
        What is known to have been measured.
    place
        Code by which the counts are reached.
    owner
        Code by which the AnnData of the modality is reached; of counts in ``obsm``, they.
    rows
        Positions of its cells among all.
    """

    specification: Specification
    cells: AnnData | None
    obs_names: pd.Index
    matrix: Any
    features: pd.Index
    panels: Panels
    place: str
    owner: str
    rows: NDArray[np.integer]

    @property
    def name(self) -> str:
        """Name of the modality."""
        return self.specification.name


def sources(
    data: Any, specifications: Mapping[str, Specification], lacking: bool
) -> dict[str, Source]:
    """Return where the counts of the modalities are, by name.

    Parameters
    ----------
    data
        A MuData, or an AnnData with counts in ``obsm``.
    specifications
        What was said of the modalities.
    lacking
        Whether the data may lack modalities.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If a modality, a layer or a key of ``obsm`` does not exist.
    lucidvi.errors.DataError
        If what is there cannot be read as a modality.
    """
    if isinstance(data, MuData):
        check_axis(data)
        check_names_of_cells(data.obs_names, "mdata.obs_names")
        present = {
            name: s for name, s in specifications.items() if name in data.mod or not lacking
        }
        return {name: _of_mudata(data, s) for name, s in present.items()}
    return _of_anndata(data, specifications, lacking)


def check_axis(mdata: MuData) -> None:
    """Raise DataError unless the modalities of a MuData share cells."""
    if getattr(mdata, "axis", 0) != 0:
        raise DataError(
            f"mdata has axis={mdata.axis}, so that its modalities share features and not cells.",
            remedy="mdata = mudata.MuData(dict(mdata.mod), axis=0)",
        )


def check_names_of_cells(names: pd.Index, place: str) -> None:
    """Raise DataError if two cells have one name, by which modalities are paired.

    Parameters
    ----------
    names
        Names of the cells.
    place
        Code by which they are reached.
    """
    if names.is_unique:
        return
    repeated = names[names.duplicated()].unique()
    raise DataError(
        f"{place} has {len(repeated):,} names that occur more than once: {first_few(repeated)}. "
        "Modalities are paired by the names of their cells.",
        remedy="name the sample in them when they are joined, each modality by itself, of the "
        'samples that have it: anndata.concat({sample: AnnData}, index_unique="-") '
        "(mudata.concat drops what one of them lacks); of samples that are joined already, "
        'adata.obs_names = adata.obs["sample"].astype(str) + "-" + adata.obs_names of each '
        "modality, before mdata = mudata.MuData(...).",
    )


def _of_mudata(mdata: MuData, specification: Specification) -> Source:
    if specification.name not in mdata.mod:
        names = list(mdata.mod)
        raise MissingKeyError(
            f"`modalities` names {specification.name!r}, which is no modality of mdata.",
            remedy=did_you_mean(specification.name, names, f"there are {listed(names)}."),
        )
    if specification.obsm is not None:
        raise DataError(
            f'`{specification.argument}["obsm"]` is {specification.obsm!r}, but the '
            "counts of a MuData are in its modalities.",
            remedy='leave "obsm" out, or give the AnnData, '
            f"mdata.mod[{quoted(specification.name)}].",
        )
    owner, cells = f"mdata.mod[{quoted(specification.name)}]", mdata.mod[specification.name]
    if not isinstance(cells, AnnData):
        raise DataError(
            f"{owner} is a {type(cells).__name__}, not an AnnData.",
            remedy="name modalities that are an AnnData each.",
        )
    return _of_cells(cells, specification, owner, mdata.obs_names.get_indexer(cells.obs_names))


def _of_cells(
    cells: AnnData, specification: Specification, owner: str, rows: NDArray[np.integer]
) -> Source:
    """Return the source of counts in ``X`` or a layer."""
    layers = layer_names(cells)
    if specification.layer is not None and specification.layer not in layers:
        raise MissingKeyError(
            f'`{specification.argument}["layer"]` is {specification.layer!r}, which is '
            f"no layer of {owner}.",
            remedy=did_you_mean(specification.layer, layers, f"there are {listed(layers)}."),
        )
    place = (
        f"{owner}.X"
        if specification.layer is None
        else f"{owner}.layers[{quoted(specification.layer)}]"
    )
    return Source(
        specification=specification,
        cells=cells,
        obs_names=cells.obs_names,
        matrix=matrix_of(cells, specification.layer),
        features=cells.var_names,
        panels=Panels.complete(*cells.shape),
        place=place,
        owner=owner,
        rows=rows,
    )


def _of_anndata(
    adata: AnnData, specifications: Mapping[str, Specification], lacking: bool
) -> dict[str, Source]:
    if is_joined(adata):
        stored = read_modalities(adata)
        known = [name for name in specifications if name in stored]
        if len(known) < len(specifications) and not lacking:
            name = next(name for name in specifications if name not in stored)
            raise MissingKeyError(
                f"`modalities` names {name!r}, which is no modality of these joined cells.",
                remedy=did_you_mean(name, list(stored), f"there are {listed(stored)}."),
            )
        if lacking:
            known = [name for name in known if stored[name].panels.present.any()]
        return {name: _of_joined(adata, specifications[name], stored[name]) for name in known}
    made: dict[str, Source] = {}
    for name, one in specifications.items():
        key = one.obsm or (name if name in adata.obsm else None)
        if key is None:
            if "adata" not in {source.owner for source in made.values()}:
                made[name] = _of_cells(adata, one, "adata", np.arange(adata.n_obs))
                continue
            if lacking:
                continue
        if key not in adata.obsm:
            if lacking:
                continue
            raise _no_such_counts(adata, one)
        made[name] = _of_obsm(adata, one, str(key))
    places = [source.place for source in made.values()]
    repeated = [place for place in places if places.count(place) > 1]
    if repeated:
        names = [name for name, source in made.items() if source.place == repeated[0]]
        raise DataError(
            f"`modalities` takes {repeated[0]} for several modalities: {listed(names)}.",
            remedy='name another key for each: {"kind": ..., "obsm": ...}.',
        )
    return made


def _no_such_counts(adata: AnnData, specification: Specification) -> MissingKeyError:
    keys = [key for key in adata.obsm if not key.startswith("_scvi")]
    named = specification.obsm or specification.name
    what = f'`{specification.argument}["obsm"]`' if specification.obsm else "`modalities`"
    remedy = did_you_mean(named, keys, f"there are {listed(keys)} in adata.obsm.")
    if specification.obsm is None and keys:
        remedy += f" Say where it is: {specification.changed(obsm=keys[0])}"
    return MissingKeyError(f"{what} names {named!r}, which is not in adata.obsm.", remedy=remedy)


def _of_obsm(adata: AnnData, specification: Specification, key: str) -> Source:
    place = f"adata.obsm[{quoted(key)}]"
    values = adata.obsm[key]
    features = _features(adata, specification, values, place)
    matrix = values.to_numpy(dtype=float, na_value=np.nan) if _is_frame(values) else values
    counts, measured = without_missing(in_memory(matrix))
    panels = Panels.complete(*counts.shape) if measured is None else Panels.of_mask(measured)
    rows = np.flatnonzero(panels.present)
    return Source(
        specification=specification,
        cells=None,
        obs_names=adata.obs_names[rows],
        matrix=counts[rows],
        features=features,
        panels=Panels(panels.codes[rows], panels.table),
        place=place,
        owner=place,
        rows=rows,
    )


def _of_joined(adata: AnnData, specification: Specification, stored: JoinedModality) -> Source:
    """Return the source of a modality of cells that were joined before."""
    rows = np.flatnonzero(stored.panels.present)
    return Source(
        specification=specification,
        cells=None,
        obs_names=adata.obs_names[rows],
        matrix=stored.counts(adata)[rows],
        features=stored.features,
        panels=Panels(stored.panels.codes[rows], stored.panels.table),
        place=stored.place,
        owner=stored.place,
        rows=rows,
    )


def _is_frame(values: Any) -> bool:
    return isinstance(values, pd.DataFrame)


def _features(adata: AnnData, specification: Specification, values: Any, place: str) -> pd.Index:
    """Return the names of the features of what is in ``obsm``."""
    n_features = values.shape[1]
    names = specification.names
    if isinstance(names, str):
        if names not in adata.uns:
            raise MissingKeyError(
                f'`{specification.argument}["names"]` is {names!r}, which is not in adata.uns.',
                remedy=did_you_mean(names, list(adata.uns), f"there are {listed(adata.uns)}."),
            )
        names = adata.uns[names]
    if names is None:
        if _is_frame(values):
            return pd.Index(values.columns.astype(str))
        names = [f"{specification.name}_{position}" for position in range(n_features)]
    names = pd.Index([str(name) for name in names])
    if len(names) != n_features:
        raise DataError(
            f'`{specification.argument}["names"]` has {len(names):,} names '
            f"({first_few(names, 3)}), but {place} has {n_features:,} columns.",
            remedy="give one name for each column.",
        )
    return names


def without_missing(matrix: Any) -> tuple[sparse.csr_matrix, NDArray[np.bool_] | None]:
    """Return counts with zero in place of NaN and -1, and where those were not; None: nowhere.

    Parameters
    ----------
    matrix
        Array or CSR matrix, shape ``(n_cells, n_features)``.
    """
    if sparse.issparse(matrix):
        counts = sparse.csr_matrix(matrix, copy=True)
        missing = _is_missing(counts.data)
        if not missing.any():
            return counts, None
        measured = np.ones(counts.shape, dtype=bool)
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        measured[rows[missing], counts.indices[missing]] = False
        counts.data[missing] = 0
        counts.eliminate_zeros()
        return counts, measured
    missing = _is_missing(matrix)
    if not missing.any():
        return sparse.csr_matrix(matrix), None
    return sparse.csr_matrix(np.where(missing, 0, matrix)), ~missing


def _is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(values) | (values == -1) if values.dtype.kind == "f" else values == -1
