"""What several trainings of one model agree about, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from lucidvi._brief import brief
from lucidvi.audit.checks._collapse import BURDA
from lucidvi.audit.cures import Cures
from lucidvi.audit.retraining._agreement import (
    leiden,
    matched_correlation,
    nearest,
    neighbour_overlap,
    rank_correlation,
    subspace_similarity,
    top_overlap,
)
from lucidvi.audit.retraining._agreement_criteria import criteria_of
from lucidvi.results import Stability

#: Most neighbours of a cell, and most genes with the largest fold changes.
N_NEIGHBOURS, N_TOP = 30, 100


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model's view of some cells, the same for all runs.

    Parameters
    ----------
    loc
        Posterior means, shape ``(n_cells, n_latent)``.
    directions
        Canonical directions as columns, see :func:`lucidvi.inference.canonical_axes`, shape
        ``(n_latent, n_latent)``.
    n_used
        Dimensions in use, which are the first of these.
    log_fold_change
        Natural log fold change of the normalized expression between two groups of the cells,
        shape ``(n_genes,)``; None without two groups.
    """

    loc: np.ndarray
    directions: np.ndarray
    n_used: int
    log_fold_change: np.ndarray | None = None

    __repr__ = brief

    @property
    def n_neighbours(self) -> int:
        """Neighbours of a cell that are looked at: 30, or a tenth of the cells."""
        return min(N_NEIGHBOURS, max(1, len(self.loc) // 10))

    @property
    def raw(self) -> np.ndarray:
        """Axes whose mean varies between cells, shape ``(n_cells, n_axes)``."""
        return self.loc[:, self.loc.var(axis=0) > BURDA]

    @property
    def canonical(self) -> np.ndarray:
        """Coordinates in the directions in use, shape ``(n_cells, n_used)``."""
        return self.loc @ self.directions[:, : self.n_used]

    @cached_property
    def neighbours(self) -> np.ndarray:
        """See :func:`nearest`."""
        return nearest(self.loc, self.n_neighbours)

    @cached_property
    def clusters(self) -> np.ndarray:
        """See :func:`leiden`."""
        return leiden(self.neighbours)

    def shuffled(self, order: np.ndarray) -> Run:
        """Return the same with its cells in another order."""
        return Run(self.loc[order], self.directions, self.n_used)


def _clusters(one: Run, other: Run) -> float:
    return float(adjusted_rand_score(one.clusters, other.clusters))


def _fold_changes(one: Run, other: Run) -> float:
    if one.log_fold_change is None or other.log_fold_change is None:
        return np.nan
    return rank_correlation(one.log_fold_change, other.log_fold_change)


def _top_genes(one: Run, other: Run) -> float:
    if one.log_fold_change is None or other.log_fold_change is None:
        return np.nan
    n_top = n_top_genes(len(one.log_fold_change))
    return top_overlap(one.log_fold_change, other.log_fold_change, n_top)


def n_top_genes(n_genes: int) -> int:
    """Genes whose fold changes count as the largest: 100, or a tenth of the genes."""
    return min(N_TOP, max(1, n_genes // 10))


#: Measures of the latent space as such, which chance can raise: more, the fewer the cells.
SPACE: dict[str, Callable[[Run, Run], float]] = {
    "subspace": lambda one, other: subspace_similarity(one.canonical, other.canonical),
    "raw_axes": lambda one, other: matched_correlation(one.raw, other.raw),
    "canonical_axes": lambda one, other: matched_correlation(one.canonical, other.canonical),
}
#: All that is measured of a pair of runs.
MEASURES: dict[str, Callable[[Run, Run], float]] = {
    "neighbours": lambda one, other: neighbour_overlap(one.neighbours, other.neighbours),
    "clusters": _clusters,
    **SPACE,
    "fold_changes": _fold_changes,
    "top_genes": _top_genes,
}


def across_runs(
    runs: Sequence[Run],
    names: Sequence[str],
    groups: Sequence[str] = (),
    *,
    seed: int = 0,
    cures: Cures | None = None,
) -> Stability:
    """Compare several runs, all pairs.

    Parameters
    ----------
    runs
        At least two, of the same cells in the same order.
    names
        Names of the runs.
    groups
        Names of the two groups of the fold changes.
    seed
        Seed of the permutations of the cells that tell what chance would give.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.
    """
    rng = np.random.default_rng(seed)
    pairs = np.array(list(combinations(range(len(runs)), 2)))
    values: dict[str, Any] = {
        name: np.array([measure(runs[i], runs[j]) for i, j in pairs])
        for name, measure in MEASURES.items()
    }
    n_cells, k = len(runs[0].loc), runs[0].n_neighbours
    change = runs[0].log_fold_change
    n_top = 0 if change is None else n_top_genes(len(change))
    shuffled = [(runs[i], runs[j].shuffled(rng.permutation(n_cells))) for i, j in pairs]
    chance = {
        "neighbours": k / (n_cells - 1),
        "clusters": 0.0,
        "fold_changes": 0.0,
        "top_genes": np.nan if change is None else n_top / len(change),
        **{name: float(np.mean([m(*pair) for pair in shuffled])) for name, m in SPACE.items()},
    }
    used = np.array([run.n_used for run in runs])
    n_latent = runs[0].loc.shape[1]
    return Stability(
        criteria=criteria_of(values, chance, used, n_latent, groups, cures or Cures()),
        runs=tuple(names),
        pairs=pairs,
        n_cells=n_cells,
        n_neighbours=k,
        n_top=n_top,
        groups=tuple(groups),
        used=used,
        n_clusters=np.array([int(run.clusters.max()) + 1 for run in runs]),
        chance=chance,
        **values,
    )
