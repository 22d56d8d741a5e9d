"""Scores of an integration, by scib-metrics: one line of a table each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from lucidvi.errors import MissingPackageError

BIO, BATCH = "bio conservation", "batch correction"
#: Weights of the two in the total, those of Luecken et al. (2022).
WEIGHTS = {BIO: 0.6, BATCH: 0.4}
#: Neighbours of each cell that LISI, kBET and graph connectivity look at, itself included.
N_LISI, N_KBET, N_GRAPH = 90, 50, 15
#: Cells of a label from which on kBET looks at it.
N_LABEL = 10


def scib() -> Any:
    """Return scib-metrics, or raise what to install."""
    try:
        import scib_metrics
    except ImportError as error:
        raise MissingPackageError(
            f"Scores of an integration need the package scib-metrics ({error}).",
            remedy='pip install "lucidvi[scib]"',
        ) from error
    return scib_metrics


@dataclass(frozen=True, eq=False)
class Embedded:
    """Cells in a space, with what is known of them.

    Parameters
    ----------
    states
        Coordinates, shape ``(n_cells, n_dimensions)``.
    labels, batches
        Of each cell, as numbers from zero, shape ``(n_cells,)``; without batches None.
    before
        Principal components of the data, not integrated, shape ``(n_cells, n_components)``.
    """

    states: NDArray[np.float32]
    labels: NDArray[np.integer]
    batches: NDArray[np.integer] | None
    before: NDArray[np.float32] | None

    @cached_property
    def _all_neighbours(self) -> Any:
        """The nearest cells and their distances, exact; each cell is its own first."""
        k = min(N_LISI, len(self.states))
        found = NearestNeighbors(n_neighbors=k).fit(self.states).kneighbors(self.states)
        results = scib().nearest_neighbors.NeighborsResults
        return results(indices=found[1], distances=found[0])

    def neighbours(self, n: int) -> Any:
        """Return the nearest ``n`` cells of each."""
        return self._all_neighbours.subset_neighbors(n=min(n, len(self.states)))

    @cached_property
    def clusters(self) -> dict[str, float]:
        """Agreement of k-means clusters with the labels."""
        return scib().nmi_ari_cluster_labels_kmeans(self.states, self.labels)

    @property
    def shares_labels(self) -> bool:
        """Whether some label of ten cells or more, as kBET asks, is found in several batches."""
        if self.batches is None:
            return False
        for label in np.unique(self.labels):
            found = self.batches[self.labels == label]
            if len(found) >= N_LABEL and 1 < len(np.unique(found)) < len(found):
                return True
        return False


@dataclass(frozen=True)
class Metric:
    """One score.

    Parameters
    ----------
    group
        :data:`BIO` or :data:`BATCH`.
    score
        Computes it: between 0 and 1, higher is better.
    needs
        What the cells must have: ``"labels"``, ``"batches"`` or ``"shared labels"``, of which
        some are found in several batches.
    """

    group: str
    score: Callable[[Embedded], float]
    needs: str


#: By name, in the order of the table.
METRICS = {
    "isolated labels": Metric(
        BIO, lambda e: scib().isolated_labels(e.states, e.labels, e.batches), "batches"
    ),
    "NMI": Metric(BIO, lambda e: e.clusters["nmi"], "labels"),
    "ARI": Metric(BIO, lambda e: e.clusters["ari"], "labels"),
    "silhouette": Metric(BIO, lambda e: scib().silhouette_label(e.states, e.labels), "labels"),
    "cLISI": Metric(BIO, lambda e: scib().clisi_knn(e.neighbours(N_LISI), e.labels), "labels"),
    "BRAS": Metric(BATCH, lambda e: scib().bras(e.states, e.labels, e.batches), "shared labels"),
    "iLISI": Metric(BATCH, lambda e: scib().ilisi_knn(e.neighbours(N_LISI), e.batches), "batches"),
    "kBET": Metric(
        BATCH,
        lambda e: scib().kbet_per_label(e.neighbours(N_KBET), e.batches, e.labels),
        "shared labels",
    ),
    "connectivity": Metric(
        BATCH, lambda e: scib().graph_connectivity(e.neighbours(N_GRAPH), e.labels), "batches"
    ),
    "PCR": Metric(
        BATCH,
        lambda e: scib().pcr_comparison(e.before, e.states, e.batches, categorical=True),
        "batches",
    ),
}


def scores(embedded: Embedded, done: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Return the scores that the cells allow, by name.

    Parameters
    ----------
    embedded
        The cells.
    done
        Called after each score.
    """
    found = {}
    for name, metric in metrics_for(embedded).items():
        with warnings.catch_warnings():
            # More variance by batch than before counts as 0, which the table shows.
            warnings.filterwarnings("ignore", message="PCR comparison score is negative")
            found[name] = float(metric.score(embedded))
        done()
    return found


def metrics_for(embedded: Embedded) -> dict[str, Metric]:
    """Return the metrics whose needs the cells meet."""
    has = {
        "labels": True,
        "batches": embedded.batches is not None,
        "shared labels": embedded.shares_labels,
    }
    return {name: metric for name, metric in METRICS.items() if has[metric.needs]}


def totals(found: dict[str, float]) -> dict[str, float]:
    """Return the mean of each group of scores, and the total where there are both."""
    means = {}
    for group in WEIGHTS:
        values = [value for name, value in found.items() if METRICS[name].group == group]
        if values:
            means[group] = float(np.mean(values))
    if len(means) == len(WEIGHTS):
        means["total"] = sum(WEIGHTS[group] * value for group, value in means.items())
    return means
