"""Several modalities as one AnnData, each cell's counts found by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.checks import check_column
from lucidvi.data._columns import named_columns
from lucidvi.data.matrices._repeats import without_repeats
from lucidvi.data.matrices._stored import in_memory
from lucidvi.data.modalities._panels import Panels
from lucidvi.data.modalities._registered import JoinedModality, anndata_of, write_modalities
from lucidvi.data.mosaic._checks import (
    check_libraries,
    check_pairing,
    check_something,
    check_source,
)
from lucidvi.data.mosaic._features import aligned
from lucidvi.data.mosaic._measured import measured_panels, without_unmeasured
from lucidvi.data.mosaic._obs import columns_of_anndata, columns_of_mudata
from lucidvi.data.mosaic._source import Source, sources
from lucidvi.data.mosaic._specification import MeasuredKind, Specification, specifications
from lucidvi.errors import DataError, ModelTypeError


def join(
    data: MuData | AnnData,
    modalities: Mapping[str, Any],
    kinds: Mapping[str, MeasuredKind],
    *,
    batch_key: str | None = None,
    labels_key: str | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    continuous_covariate_keys: Sequence[str] | None = None,
    features: Mapping[str, Sequence[str]] | None = None,
) -> AnnData:
    """Join the modalities of cells into one AnnData.

    Its cells are those of ``data``, in their order. Counts of the main modality, the first one,
    are in ``X``, those of the others in ``obsm`` by name, all CSR float32, and the rows of cells
    without a modality are empty. Which features were measured in a cell is said by a code in
    ``obs["lucidvi_panel_<name>"]`` (-1: the cell does not have the modality), and what the codes
    mean, the names of features and all that was said of the modalities by
    ``uns["lucidvi_modalities"]``.

    Parameters
    ----------
    data
        Cells, which are not changed: a MuData, or an AnnData with counts of one modality in ``X``
        or a layer and those of the others in ``obsm``, where -1 and NaN mean not measured.
    modalities
        For each modality its kind, or a dictionary of the parameters of
        ``lucidvi.data.mosaic.Specification``.
    kinds
        The kinds that there are, by name.
    batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys
        Columns of ``mdata.obs``, or else of the modalities' ``obs``.
    features
        Names of the features of a model, by modality, which the counts are given for. Features
        and modalities that the data lack were not measured.

    Raises
    ------
    lucidvi.errors.DataError
        If values are no counts, names are repeated, a cell or a modality has nothing, modalities
        disagree on a column, or it is open whether zeros were measured. It names the place, the
        value and the remedy.
    lucidvi.errors.MissingKeyError
        If a modality, a layer or a key does not exist.
    """
    if not isinstance(data, MuData | AnnData):
        raise ModelTypeError(
            f"The cells are a {type(data).__name__}, neither a MuData nor an AnnData.",
            remedy='mudata.MuData({"rna": rna, "prot": proteins}), of an AnnData each.',
        )
    by_name = specifications(modalities, kinds, data)
    made = sources(data, by_name, lacking=features is not None)
    if not made:
        raise DataError(
            f"The cells have none of the modalities {', '.join(map(repr, by_name))}.",
            remedy="give cells with one of them, under its name.",
        )
    for source in made.values():
        check_source(source)
    keys = {
        "batch_key": batch_key,
        "labels_key": labels_key,
        "categorical_covariate_keys": categorical_covariate_keys,
        "continuous_covariate_keys": continuous_covariate_keys,
    }
    obs = _obs(data, made, {column: argument for argument, column in named_columns(keys)})
    if batch_key is not None:
        check_column(obs, "batch_key", batch_key)
    batches = None if batch_key is None else obs[batch_key]
    expected = {name: _expected(name, features) for name in by_name}
    parts = {
        name: _joined(by_name[name], made.get(name), expected[name], batches, len(obs))
        for name in by_name
    }
    totals = np.sum([counts.sum(axis=1) for counts, _, _ in parts.values()], axis=0)
    check_something(
        obs.index, np.ravel(totals) > 0, "mdata" if isinstance(data, MuData) else "adata"
    )
    return _anndata(by_name, parts, obs, _var(made, by_name, expected))


def _obs(
    data: MuData | AnnData, made: Mapping[str, Source], needed: dict[str, str]
) -> pd.DataFrame:
    if isinstance(data, AnnData):
        return columns_of_anndata(data)
    check_pairing(data, made)
    return columns_of_mudata(data, made, needed)


def _expected(name: str, features: Mapping[str, Sequence[str]] | None) -> pd.Index | None:
    return None if features is None else pd.Index(features[name], dtype=object)


def _joined(
    specification: Specification,
    source: Source | None,
    expected: pd.Index | None,
    batches: pd.Series | None,
    n_cells: int,
) -> tuple[sparse.csr_matrix, Panels, pd.Index]:
    """Return the counts of a modality in all cells, what was measured, and names of features."""
    if source is None:
        assert expected is not None
        counts = sparse.csr_matrix((n_cells, len(expected)), dtype=np.float32)
        nothing = Panels(np.zeros(0, np.int32), np.zeros((0, len(expected)), bool))
        return counts, nothing.placed(np.zeros(0, np.int64), n_cells), expected
    counts = sparse.csr_matrix(in_memory(source.matrix), copy=False)
    counts = without_repeats(counts.astype(np.float32, copy=False))
    panels, features = source.panels, source.features
    if expected is not None:
        counts, panels = aligned(source, counts, expected)
        features = expected
    own = None if batches is None else batches.iloc[source.rows]
    of_model = expected is not None
    panels = measured_panels(specification, counts, features, panels, own, of_model=of_model)
    counts = without_unmeasured(counts, panels, specification.name)
    check_libraries(source, counts, panels)
    return placed(counts, source.rows, n_cells), panels.placed(source.rows, n_cells), features


def placed(
    counts: sparse.csr_matrix, rows: NDArray[np.integer], n_cells: int
) -> sparse.csr_matrix:
    """Return counts with each row at its place among more, of which the others are empty.

    Parameters
    ----------
    counts
        Shape ``(len(rows), n_features)``.
    rows
        Where each row goes.
    n_cells
        Number of rows of the result.
    """
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows)
        counts, rows = counts[order], rows[order]
    lengths = np.zeros(n_cells, counts.indptr.dtype)
    lengths[rows] = np.diff(counts.indptr)
    indptr = np.concatenate([counts.indptr[:1], np.cumsum(lengths, dtype=counts.indptr.dtype)])
    parts = counts.data.copy(), counts.indices.copy(), indptr
    return sparse.csr_matrix(parts, shape=(n_cells, counts.shape[1]))


def _var(
    made: Mapping[str, Source],
    by_name: Mapping[str, Specification],
    expected: Mapping[str, pd.Index | None],
) -> pd.DataFrame:
    """Return the table of the main modality's features."""
    main = next(iter(by_name))
    names, source = expected[main], made.get(main)
    if names is not None and (source is None or not source.features.equals(names)):
        return pd.DataFrame(index=names)
    assert source is not None
    names = source.features
    return pd.DataFrame(index=names) if source.cells is None else source.cells.var.copy()


def _anndata(
    by_name: Mapping[str, Specification],
    parts: Mapping[str, tuple[sparse.csr_matrix, Panels, pd.Index]],
    obs: pd.DataFrame,
    var: pd.DataFrame,
) -> AnnData:
    main, *others = by_name
    joined = anndata_of(parts[main][0], obs, var)
    for name in others:
        joined.obsm[name] = parts[name][0]
    modalities = {
        name: JoinedModality(
            name=name,
            kind=one.kind,
            is_main=name == main,
            features=parts[name][2],
            panels=parts[name][1],
            needs_counts=one.needs_counts,
            specification=one.plain(),
        )
        for name, one in by_name.items()
    }
    write_modalities(joined, modalities)
    return joined
