"""What several trainings agree about: what retraining finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lucidvi.results._finding import Finding


@dataclass(frozen=True, kw_only=True)
class Stability(Finding):
    """What trainings of the same model with several seeds agree about.

    Arrays over pairs of runs have shape ``(n_pairs,)``.

    Parameters
    ----------
    runs
        Names of the runs: the model itself and the seeds.
    pairs
        Positions of the two runs of each pair, shape ``(n_pairs, 2)``.
    n_cells, n_neighbours, n_top
        Cells that were compared, neighbours of each, genes with the largest fold changes.
    groups
        Names of the two groups of cells whose expression is compared; empty without two.
    used
        Canonical directions that each run uses, shape ``(n_runs,)``.
    n_clusters
        Clusters of each run, shape ``(n_runs,)``.
    neighbours
        Mean share of the nearest neighbours in common.
    clusters
        Adjusted Rand index of Leiden clusters.
    subspace
        Mean canonical correlation of the posterior means, over the directions in use.
    raw_axes, canonical_axes
        Mean absolute correlation of matched axes (MCC), of the latent space as it is and of the
        canonical directions, see :func:`lucidvi.inference.canonical_axes`.
    fold_changes
        Rank correlation over genes of log fold changes between the two groups.
    top_genes
        Share in common of the genes with the largest fold changes.
    chance
        What each measure would be, on average, for runs that have nothing in common.
    """

    name: ClassVar[str] = "stability"
    title: ClassVar[str] = "Would another training say the same?"
    explanation: ClassVar[str] = (
        "The model was trained again with other seeds, which change its first weights, the order "
        "of the cells and which of them are held out, and all pairs of trainings were compared on "
        "the same cells. What they agree about is a property of the data and the model; what they "
        "do not agree about is an accident of one training, and no conclusion should rest on it. "
        "Neighbours and clusters are what most analyses use. Axes are compared one by one, as "
        "they are and as directions ordered by the expression that they move, and together as a "
        "subspace, of which every rotation is as good. Fold changes are those of the expected "
        "expression between two groups of cells."
    )
    reference: ClassVar[str] = (
        "Hotelling, Biometrika (1936), canonical correlations. Hyvärinen and Morioka, NeurIPS "
        "(2016), matched correlations. Hubert and Arabie, Journal of Classification (1985), "
        "adjusted Rand index. Traag et al., Scientific Reports (2019), Leiden."
    )

    runs: tuple[str, ...]
    pairs: np.ndarray
    n_cells: int
    n_neighbours: int
    n_top: int
    groups: tuple[str, ...]
    used: np.ndarray
    n_clusters: np.ndarray
    neighbours: np.ndarray
    clusters: np.ndarray
    subspace: np.ndarray
    raw_axes: np.ndarray
    canonical_axes: np.ndarray
    fold_changes: np.ndarray
    top_genes: np.ndarray
    chance: dict[str, float]
