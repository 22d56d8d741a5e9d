"""Which cells are looked at: a sample of all batches and labels, with held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi.data import stratified

#: Share of the sample that is held-out cells, where there are enough of them.
HELD_OUT_SHARE = 0.3
#: Fewest cells that were held out, or trained on, from which anything is concluded.
N_MIN = 5
#: Cells by whose counts two AnnData with the same names are told apart.
N_COMPARED = 50
#: Name of a batch or label that is missing.
MISSING = "(missing)"

SPLITS = {
    "known": "validation and test cells of the model's own training",
    "new": "all cells, none of which the model was trained on",
    "unknown": "none: which cells the model was trained on is not known, so that all numbers are "
    "of cells that may have been trained on",
    "few": f"none: fewer than {N_MIN} were, so that all numbers are of cells that may have been "
    "trained on",
}


@dataclass(frozen=True)
class Sample:
    """Cells that are looked at.

    Parameters
    ----------
    indices
        Positions of the cells in the AnnData, increasing, shape ``(n_cells,)``.
    held_out
        Which of the cells were held out of training; none where it is not known.
    split
        What is known of held-out cells: ``"known"``, ``"new"``, ``"unknown"`` or ``"few"``, see
        :data:`SPLITS`.
    batch, label
        Names of each cell's batch and label, shape ``(n_cells,)``.
    """

    indices: np.ndarray
    held_out: np.ndarray
    split: str
    batch: np.ndarray
    label: np.ndarray

    @property
    def evaluated(self) -> np.ndarray:
        """Positions in the sample of the held-out cells, or of all where none are."""
        return np.flatnonzero(self.held_out if self.held_out.any() else ~self.held_out)

    @property
    def trained(self) -> np.ndarray:
        """Positions in the sample of the cells that were trained on, as far as is known."""
        return np.flatnonzero(~self.held_out)


def draw_sample(
    model: Any,
    adata: AnnData,
    batch_key: str | None,
    labels_key: str | None,
    max_cells: int,
    rng: np.random.Generator,
) -> Sample:
    """Choose the cells.

    Parameters
    ----------
    model
        A model of scvi-tools' kind.
    adata
        Cells, registered with the model.
    batch_key, labels_key
        Columns of ``obs`` with batches and labels; by default what the model was set up with.
    max_cells
        Most cells to choose; at least their :data:`HELD_OUT_SHARE` is held-out if possible.
    rng
        Generator of the random numbers by which cells are chosen.
    """
    split, held_out = held_out_cells(model, adata)
    manager = model.get_anndata_manager(adata, required=True)
    batch, label = (
        names(manager, key, adata.n_obs) if column is None else text(adata.obs[column])
        for column, key in (
            (batch_key, REGISTRY_KEYS.BATCH_KEY),
            (labels_key, REGISTRY_KEYS.LABELS_KEY),
        )
    )
    strata = pd.factorize(pd.Series(batch) + "\n" + pd.Series(label))[0]
    out, others = np.flatnonzero(held_out), np.flatnonzero(~held_out)
    least = max(int(HELD_OUT_SHARE * max_cells), min(N_MIN, max_cells))
    n_out = min(len(out), max(least, max_cells - len(others)))
    parts = [
        stratified(strata[part], n, rng, part)
        for part, n in ((out, n_out), (others, max_cells - n_out))
    ]
    indices = np.sort(np.concatenate(parts))
    if split == "known":
        split, held_out, indices = enough(held_out, indices)
    return Sample(indices, held_out[indices], split, batch[indices], label[indices])


def enough(held_out: np.ndarray, indices: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Give up a distinction for which there are too few cells on one side.

    Returns
    -------
    What is known of the split, which of all cells were held out, and which are looked at.
    """
    if held_out[indices].sum() < N_MIN:
        return "few", np.zeros_like(held_out), indices
    if (~held_out[indices]).sum() < N_MIN:
        return "new", held_out, indices[held_out[indices]]
    return "known", held_out, indices


def text(column: pd.Series) -> np.ndarray:
    """Names of the values of a column, whatever its type, with one for those that are missing."""
    names = column.astype(object).map(str).to_numpy(dtype=object)
    return np.where(pd.isna(column).to_numpy(), MISSING, names).astype(str)


def held_out_cells(model: Any, adata: AnnData) -> tuple[str, np.ndarray]:
    """Return what is known of the split, and which cells were held out of training."""
    of_model = model.adata
    nobody = np.zeros(adata.n_obs, dtype=bool)
    train = getattr(model, "train_indices_", None)
    if train is None:
        train = getattr(model, "train_indices", None)
    if of_model is not None and not np.isin(adata.obs_names, of_model.obs_names).any():
        return "new", ~nobody
    same = of_model is adata or (of_model is not None and is_copy(model, adata, of_model))
    if not same or train is None or len(train) == 0 or max(train) >= adata.n_obs:
        return "unknown", nobody
    held_out = ~nobody
    held_out[np.asarray(train)] = False
    return ("known" if held_out.any() else "unknown"), held_out


def is_copy(model: Any, adata: AnnData, of_model: AnnData) -> bool:
    """Whether an AnnData holds the cells of a model in their order, by names and counts.

    Names alone would not do: those of many files are numbers from zero.
    """
    if not adata.obs_names.equals(of_model.obs_names):
        return False
    if adata_minify_type(of_model) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
        return True  # its counts are gone
    first, second = (
        model.get_anndata_manager(data, required=True).get_from_registry(REGISTRY_KEYS.X_KEY)[
            :N_COMPARED
        ]
        for data in (adata, of_model)
    )
    return not (sparse.csr_matrix(first) != sparse.csr_matrix(second)).nnz


def names(manager: Any, key: str, n_cells: int) -> np.ndarray:
    """Names of the categories of each cell in a registered field."""
    if key not in manager.data_registry:
        return np.full(n_cells, "")
    codes = np.ravel(manager.get_from_registry(key)).astype(int)
    mapping = manager.get_state_registry(key).categorical_mapping
    return np.asarray(mapping).astype(str)[codes]
