"""The cells that an integration is scored by, and what their embeddings have to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.checks import check_column
from lucidvi.data import check_obs, stratified
from lucidvi.errors import DataError, first_few


@dataclass(frozen=True, eq=False)
class ScoredCells:
    """Cells with labels, and batches where there are several.

    Parameters
    ----------
    positions
        In the AnnData, increasing, shape ``(n_cells,)``.
    labels, batches
        Of each, as numbers from zero; without several batches None.
    notes
        What was left out, and why.
    """

    positions: NDArray[np.integer]
    labels: NDArray[np.integer]
    batches: NDArray[np.integer] | None
    notes: tuple[str, ...]


def scored_cells(
    adata: AnnData, labels_key: str, batch_key: str | None, max_cells: int, seed: int
) -> ScoredCells:
    """Choose the cells, so that each label in each batch has its share.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If there is no such column.
    lucidvi.errors.DataError
        If fewer than two labels have two cells, or a batch is missing.
    """
    check_obs(adata, {"batch_key": batch_key})
    check_column(adata.obs, "labels_key", labels_key)
    labels = adata.obs[labels_key].astype(object)
    batches = pd.Series("", adata.obs_names) if batch_key is None else adata.obs[batch_key]
    table = pd.DataFrame({"label": labels, "batch": batches.astype(str)}).reset_index(drop=True)
    table = table[table["label"].notna()]
    notes = []
    if n := adata.n_obs - len(table):
        notes.append(f"{n:,} cells have no label and are not scored.")
    strata = table.groupby(["label", "batch"], observed=True).ngroup().to_numpy()
    chosen = np.sort(stratified(strata, max_cells, np.random.default_rng(seed)))
    table = table.iloc[chosen]
    sizes = table["label"].value_counts()
    if single := sorted(map(str, sizes[sizes == 1].index)):
        notes.append(f"Labels of a single cell are not scored: {first_few(single)}.")
        table = table[table["label"].map(sizes) > 1]
    if table["label"].nunique() < 2:
        raise DataError(
            f"`labels_key` {labels_key!r} gives {len(table):,} cells to score, of "
            f"{table['label'].nunique()} label with two cells or more: "
            f"{first_few(table['label'].unique())}.",
            remedy="Name a column with at least two labels, of several cells each.",
        )
    several = table["batch"].nunique() > 1
    if not several:
        notes.append(_one_batch(table, batch_key))
    return ScoredCells(
        table.index.to_numpy(),
        pd.factorize(table["label"], sort=False)[0],
        pd.factorize(table["batch"])[0] if several else None,
        tuple(notes),
    )


def _one_batch(table: pd.DataFrame, batch_key: str | None) -> str:
    """Say why batch correction is not scored."""
    if batch_key is None:
        return "The model has no batches: name their column, `batch_key`, to score their mixing."
    name = table["batch"].iloc[0]
    return f"All cells that are scored are of the batch {name!r}: no mixing to score."


def checked_embedding(states: NDArray, name: str, n_cells: int) -> NDArray[np.float32]:
    """Return coordinates of all cells, or raise :class:`DataError` for what cannot be scored."""
    states = np.asarray(states)
    if states.ndim != 2 or len(states) != n_cells or states.dtype.kind not in "fiu":
        raise DataError(
            f"The embedding {name!r} has shape {states.shape} and type {states.dtype}; the model "
            f"has {n_cells:,} cells.",
            remedy="Give numbers of shape (n_cells, n_dimensions), in the order of `model.adata`.",
        )
    states = states.astype(np.float32)
    if not np.isfinite(states).all():
        cell = int(np.flatnonzero(~np.isfinite(states).all(axis=1))[0])
        raise DataError(
            f"The embedding {name!r} is not finite in cell {cell}.",
            remedy="Compute it anew, or leave it out of `against`.",
        )
    return states
