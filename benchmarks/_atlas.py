"""Leave something out of a reference, map it, and see what the reference says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from _integration import DATASETS, Dataset
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from lucidvi.results._reliability import expected_calibration_error

#: Data sets, the column of what is left out in turn, and which of its values (None: all).
LEFT_OUT: dict[str, tuple[str, list[str] | None]] = {
    "panc8_small": ("technology", None),
    "cellbench_3tech": ("batch", None),
    "lupus_t": ("batch", None),
    "onek1k_40donors": ("pool", ["57", "20", "53"]),
}
#: Rates at which false positives are counted.
RATES = (0.01, 0.05, 0.1)
#: Balanced accuracy from which on two types count as told apart.
TOLD_APART = 0.8
#: Components, neighbours and folds of the classifier that says so; cells that a type needs.
N_COMPONENTS, N_NEIGHBOURS, N_FOLDS, N_CELLS_MIN = 30, 15, 5, 20


def left_out(dataset: str) -> list[str]:
    """Say which values of :data:`LEFT_OUT` are left out of a data set in turn."""
    column, values = LEFT_OUT[dataset]
    return values or sorted(DATASETS[dataset].read().obs[column].astype(str).unique())


def divided(dataset: str, value: str) -> tuple[Dataset, AnnData, AnnData]:
    """Divide a data set's cells with a label.

    Parameters
    ----------
    dataset, value
        As in :func:`left_out`.

    Returns
    -------
    The data set, the cells outside, and those with the value whose types are outside, too.
    """
    chosen = DATASETS[dataset]
    adata = chosen.read()
    adata = adata[adata.obs[chosen.labels_key].notna()].copy()
    inside = (adata.obs[LEFT_OUT[dataset][0]].astype(str) == value).to_numpy()
    known, query = adata[~inside].copy(), adata[inside].copy()
    types = known.obs[chosen.labels_key].unique()
    return chosen, known, query[query.obs[chosen.labels_key].isin(types)].copy()


def label_scores(out: AnnData, labels_key: str = "cell_type") -> dict[str, float]:
    """Score the labels of mapped cells of which the truth is known.

    Parameters
    ----------
    out
        Result of :meth:`Reference.map`.
    labels_key
        Column with the true labels.

    Returns
    -------
    ``accuracy`` and ``ece`` of the label, and the ``false_positives`` of novelty at each rate.
    """
    right = (out.obs["lucidvi_label"].astype(str) == out.obs[labels_key].astype(str)).to_numpy()
    confidence = out.obs["lucidvi_confidence"].to_numpy()
    novelty = out.obs["lucidvi_novelty"].to_numpy()
    return {
        "accuracy": float(right.mean()),
        "ece": expected_calibration_error(confidence, right),
        **{f"false_positives_{rate:g}": float((novelty <= rate).mean()) for rate in RATES},
    }


def novelty_auroc(known: AnnData, new: AnnData) -> float:
    """Area under the ROC curve of telling new cells from known ones by their p-values.

    Parameters
    ----------
    known, new
        Results of :meth:`Reference.map`.
    """
    p = np.concatenate([out.obs["lucidvi_novelty"].to_numpy() for out in (known, new)])
    return float(roc_auc_score(np.repeat([0, 1], [known.n_obs, new.n_obs]), -p))


def told_apart(
    adata: AnnData, labels_key: str = "cell_type", batch_key: str | None = None
) -> pd.DataFrame:
    """Say which types can be told from the type that is most like them, without our model.

    By the 15 nearest cells in the space of 30 principal components of log-normalised counts, on
    equally many cells of both types: cells of other folds, and cells of other batches. A type
    that is in one batch only can be told by what is peculiar to the batch, and not by the latter.

    Parameters
    ----------
    adata
        Cells with counts.
    labels_key, batch_key
        Columns with the types, and with batches if there are any.

    Returns
    -------
    A row a type with at least 20 cells: ``told_apart``, whether the balanced accuracy against the
    type that it is told from worst is at least 0.8, and ``across_batches``, whether it is so by
    cells of other batches.
    """
    x = adata.X / adata.X.sum(axis=1).reshape(-1, 1) * 1e4
    log_x = np.log1p(np.asarray(x.todense() if hasattr(x, "todense") else x))
    z = PCA(N_COMPONENTS, random_state=0).fit_transform(log_x)
    labels = adata.obs[labels_key].astype(str).to_numpy()
    batches = None if batch_key is None else adata.obs[batch_key].astype(str).to_numpy()
    types = [name for name, n in pd.Series(labels).value_counts().items() if n >= N_CELLS_MIN]
    rows = {}
    for name in types:
        others = [other for other in types if other != name]
        pairs = [_equally_many(labels, name, other) for other in others]
        kinds = [labels[pair] == name for pair in pairs]
        within = [_accuracy(z[pair], kind) for pair, kind in zip(pairs, kinds, strict=True)]
        across = within
        if batches is not None:
            across = [
                _accuracy(z[pair], kind, batches[pair])
                for pair, kind in zip(pairs, kinds, strict=True)
            ]
        rows[name] = {
            "told_apart": min(within) >= TOLD_APART,
            "across_batches": min(across) >= TOLD_APART,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _equally_many(labels: np.ndarray, *names: str) -> np.ndarray:
    """Positions of equally many cells of two types."""
    rng = np.random.default_rng(0)
    each = [rng.permutation(np.flatnonzero(labels == name)) for name in names]
    return np.concatenate([cells[: min(map(len, each))] for cells in each])


def _accuracy(z: np.ndarray, kind: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Balanced accuracy of telling two types apart by cells of other folds, or other groups."""
    neighbours = KNeighborsClassifier(min(N_NEIGHBOURS, len(z) // 4))
    cv: Any = N_FOLDS
    if groups is not None:
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            return 0.5
        cv = GroupKFold(min(N_FOLDS, n_groups))
    guess = cross_val_predict(neighbours, z, kind, cv=cv, groups=groups)
    return float(balanced_accuracy_score(kind, guess))
