"""Agreement of a latent space with known cell types: scib-metrics' bio-conservation scores."""

from __future__ import annotations

import numpy as np
import scib_metrics
from scib_metrics.nearest_neighbors import pynndescent

#: Neighbours that cLISI looks at, as scib-metrics' benchmarker sets them.
N_NEIGHBORS = 90


def bio_conservation(latent: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores of a latent space, as scib-metrics' ``Benchmarker`` computes them by default.

    Its score of isolated labels is left out, which needs batches.

    Parameters
    ----------
    latent
        Shape ``(n_cells, n_latent)``.
    labels
        Cell types, shape ``(n_cells,)``.

    Returns
    -------
    ``nmi`` and ``ari`` of k-means clusters, ``silhouette``, ``clisi`` and their ``mean``.

    References
    ----------
    Luecken et al., Nature Methods 19 (2022), Benchmarking atlas-level data integration in
    single-cell genomics.
    """
    labels = np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]
    neighbors = pynndescent(latent, n_neighbors=N_NEIGHBORS, random_state=0)
    clusters = scib_metrics.nmi_ari_cluster_labels_kmeans(latent, labels)
    scores = {
        "nmi": float(clusters["nmi"]),
        "ari": float(clusters["ari"]),
        "silhouette": float(scib_metrics.silhouette_label(latent, labels)),
        "clisi": float(scib_metrics.clisi_knn(neighbors, labels)),
    }
    return {**scores, "mean": float(np.mean(list(scores.values())))}
