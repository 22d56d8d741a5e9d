"""How far two trained models agree about the same cells, one measure a function."""

from __future__ import annotations

import random

import igraph
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.neighbors import NearestNeighbors

#: Resolution of Leiden's modularity.
RESOLUTION = 1.0
#: Share of the largest singular value below which a direction carries nothing.
RANK_TOLERANCE = 1e-6


def subspace_similarity(one: np.ndarray, other: np.ndarray) -> float:
    r"""Mean canonical correlation of two representations.

    .. math:: \frac{1}{m} \sum_{i=1}^m \sigma_i(U_1^\top U_2)

    with orthonormal bases :math:`U` of the centred columns. It does not change under invertible
    linear maps of either.

    Parameters
    ----------
    one, other
        Representations of the same cells, shape ``(n_cells, p)`` and ``(n_cells, q)``. Columns
        that depend on others are left out; :math:`m` is the smaller rank.

    Returns
    -------
    Between 0 and 1; NaN if either representation is constant.

    References
    ----------
    Hotelling, Biometrika (1936), Relations between two sets of variates. Raghu et al., NeurIPS
    (2017), SVCCA.
    """
    bases = [orthonormal(loc) for loc in (one, other)]
    n_common = min(basis.shape[1] for basis in bases)
    if n_common == 0:
        return np.nan
    correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float(correlations.clip(max=1).mean())


def orthonormal(loc: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the centred columns, shape ``(n_cells, rank)``."""
    left, values, _ = np.linalg.svd(loc - loc.mean(axis=0), full_matrices=False)
    return left[:, values > RANK_TOLERANCE * values.max(initial=0)]


def matched_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute correlation of axes, each matched with at most one (MCC).

    The matching is that of the largest sum; if one side has more axes, some stay without a
    partner.

    Parameters
    ----------
    one, other
        Representations of the same cells, shape ``(n_cells, p)`` and ``(n_cells, q)``.

    Returns
    -------
    Between 0 and 1, an axis that is constant counting 0; NaN without any axes.

    References
    ----------
    Hyvärinen and Morioka, NeurIPS (2016), Unsupervised feature extraction by time-contrastive
    learning and nonlinear ICA.
    """
    if not one.shape[1] or not other.shape[1]:
        return np.nan
    correlation = np.abs(standardized(one).T @ standardized(other)) / len(one)
    rows, columns = linear_sum_assignment(correlation, maximize=True)
    return float(correlation[rows, columns].mean())


def standardized(values: np.ndarray) -> np.ndarray:
    """Columns with mean zero and variance one, or all zero where constant."""
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    return np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)


def nearest(loc: np.ndarray, k: int) -> np.ndarray:
    """Positions of each cell's ``k`` nearest other cells, shape ``(n_cells, k)``."""
    # Without a query, scikit-learn leaves each cell itself out.
    return NearestNeighbors(n_neighbors=k).fit(loc).kneighbors(return_distance=False)


def neighbour_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Mean share of neighbours in common, from two results of :func:`nearest`.

    By chance it is ``k / (n_cells - 1)``.
    """
    n_cells, k = one.shape
    offset = np.arange(n_cells)[:, None] * n_cells
    return float(np.isin(one + offset, other + offset).sum() / (n_cells * k))


def leiden(neighbours: np.ndarray, seed: int = 0) -> np.ndarray:
    """Cluster a graph of nearest neighbours, at resolution 1.

    Parameters
    ----------
    neighbours
        Neighbours of each cell, see :func:`nearest`.
    seed
        Seed of the order in which cells are moved.

    Returns
    -------
    Number of each cell's cluster, the largest cluster's being 0, shape ``(n_cells,)``.

    References
    ----------
    Traag et al., Scientific Reports (2019), From Louvain to Leiden.
    """
    n_cells, k = neighbours.shape
    edges = np.column_stack([np.repeat(np.arange(n_cells), k), neighbours.ravel()])
    graph = igraph.Graph(n_cells, np.unique(np.sort(edges, axis=1), axis=0))
    igraph.set_random_number_generator(random.Random(seed))
    try:
        clusters = graph.community_leiden("modularity", resolution=RESOLUTION, n_iterations=-1)
    finally:
        igraph.set_random_number_generator(random)
    labels = np.asarray(clusters.membership)
    return np.argsort(np.argsort(-np.bincount(labels), kind="stable"))[labels]


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; 0 where one is constant."""
    first, second = (standardized(rankdata(values)) for values in (one, other))
    return float(first @ second / len(first))


def top_overlap(one: np.ndarray, other: np.ndarray, n_top: int) -> float:
    """Share in common of the ``n_top`` genes with the largest absolute fold changes.

    By chance it is ``n_top / n_genes``.
    """
    first, second = (np.argsort(-np.abs(v), kind="stable")[:n_top] for v in (one, other))
    return len(np.intersect1d(first, second)) / n_top
