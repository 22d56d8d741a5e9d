"""What a query has of a model's modalities beside the genes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.atlas.mapping._counts import ModelCounts
from lucidvi.atlas.mapping._genes import MeasuredGenes
from lucidvi.atlas.mapping._setup import Place, Setup
from lucidvi.errors import DataError, GeneMismatchError, first_few
from lucidvi.module import Modality


@dataclass(frozen=True)
class MeasuredModality:
    """A modality beside the genes, as a query has it.

    Parameters
    ----------
    place
        Where the model reads its values.
    mask
        Which of the model's features are there, shape ``(n_features,)``; none of them where the
        query lacks the modality.
    values
        Values of the model's features; None where the query lacks the modality.
    """

    place: Place
    mask: NDArray[np.bool_]
    values: ModelCounts | None = None

    @property
    def is_there(self) -> bool:
        """Whether the query has any of it."""
        return bool(self.mask.any())

    def put(self, adata: AnnData, indices: NDArray[np.integer]) -> None:
        """Write values where the model reads them; what was not measured is not looked at.

        Parameters
        ----------
        adata
            Cells that are written to.
        indices
            Their positions in the query, ascending.
        """
        shape = len(indices), len(self.mask)
        x = sparse.csr_matrix(shape, dtype=np.float32)
        x = x if self.values is None else self.values.of(indices)
        slot = getattr(adata, self.place.slot)
        slot[self.place.key] = x if self.place.slot == "layers" else x.toarray()
        if isinstance(self.place.names, list):  # of a table, whose columns the model expects
            slot[self.place.key] = pd.DataFrame(
                x.toarray(), index=adata.obs_names, columns=self.place.names
            )


def measured_modalities(
    query: AnnData, setup: Setup, genes: MeasuredGenes | None
) -> dict[str, MeasuredModality]:
    """Read which modalities beside the genes a query has, and check their values.

    Parameters
    ----------
    query
        The cells.
    setup
        How the model was set up.
    genes
        The genes of the query, which its layers share; None if they are those of ``query.raw``,
        so that its layers cannot be read.

    Returns
    -------
    By name; a modality that the query lacks is there, too, with nothing measured.

    Raises
    ------
    lucidvi.errors.GeneMismatchError
        If a table has none of the model's features, or a matrix another number of them.
    lucidvi.errors.DataError
        If there is a value that the model's likelihood cannot have.
    """
    measured = {}
    for key, modality in setup.others.items():
        place = setup.place(modality)
        slot = getattr(query, place.slot)
        if place.key not in slot or (place.slot == "layers" and genes is None):
            measured[key] = MeasuredModality(place, np.zeros(modality.n_features, bool))
            continue
        matrix = slot[place.key]
        if place.slot == "layers" and genes is not None:
            selection = genes.selection
        else:
            selection = _selection(matrix, place, modality)
        matrix = matrix.to_numpy() if isinstance(matrix, pd.DataFrame) else matrix
        values = ModelCounts(matrix, selection)
        _check_values(query, values, place, modality)
        measured[key] = MeasuredModality(place, selection.getnnz(axis=0) > 0, values)
    return measured


def feature_masks(modalities: Mapping[str, MeasuredModality]) -> dict[str, NDArray[np.bool_]]:
    """Return which features are there, of modalities of which not all are."""
    return {key: one.mask for key, one in modalities.items() if not one.mask.all()}


def _selection(matrix: Any, place: Place, modality: Modality) -> sparse.csr_matrix:
    """Return zeros and ones, shape ``(n_query_features, n_features)``."""
    n_columns, n_features = matrix.shape[1], modality.n_features
    if isinstance(matrix, pd.DataFrame) and isinstance(place.names, list):
        columns = pd.Index(place.names).get_indexer(matrix.columns)
        rows = np.flatnonzero(columns >= 0)
        if not len(rows):
            raise GeneMismatchError(
                f"{place} has none of the model's {n_features:,} features of {modality.key!r}: it "
                f"has {first_few(matrix.columns)}, the model has {first_few(place.names)}.",
                remedy=f"name its columns as the model does, or leave {place} out.",
            )
        columns = columns[rows]
        if len(np.unique(columns)) < len(columns):
            repeated = matrix.columns[rows][matrix.columns[rows].duplicated()].unique()
            raise DataError(
                f"{place} has {len(repeated):,} features of {modality.key!r} more than once: "
                f"{first_few(repeated)}.",
                remedy="keep one of each.",
            )
    elif n_columns == n_features:
        rows = columns = np.arange(n_features)
    else:
        raise GeneMismatchError(
            f"{place} has {n_columns:,} columns, the model has {n_features:,} features of "
            f"{modality.key!r}, which are told by their order.",
            remedy=f"give {place} the columns of the reference's data, or leave it out.",
        )
    ones = np.ones(len(rows), np.float32)
    return sparse.csr_matrix((ones, (rows, columns)), shape=(n_columns, n_features))


def _check_values(query: AnnData, values: ModelCounts, place: Place, modality: Modality) -> None:
    """Raise DataError for values that a modality cannot have."""
    wrong = [
        np.unique(np.repeat(cells, np.diff(x.indptr))[~_is_possible(x.data, modality)])
        for cells, x in values.blocks()
    ]
    positions = np.concatenate(wrong) if wrong else np.zeros(0, int)
    if positions.size:
        kind = "counts" if modality.likelihood.is_counts else "numbers"
        raise DataError(
            f"{place} has values that are no {kind} in {positions.size:,} of {query.n_obs:,} "
            f"cells: {first_few(query.obs_names[positions])}.",
            remedy=f"give the {kind} of {modality.key!r}, or leave {place} out: what was not "
            "measured is not needed.",
        )


def _is_possible(data: NDArray[np.floating], modality: Modality) -> NDArray[np.bool_]:
    is_finite = np.isfinite(data)
    if not modality.likelihood.is_counts:
        return is_finite
    return is_finite & (data >= 0) & (data == np.round(data))
