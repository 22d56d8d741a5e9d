"""Agreement of a latent space with known cell types: three of scIB's bio-conservation scores."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score


def bio_conservation(latent: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """NMI and ARI of k-means clusters, and the silhouette of the cell types scaled to 0 to 1.

    As ``scib_metrics.nmi_ari_cluster_labels_kmeans`` and ``scib_metrics.silhouette_label``
    define them, computed by scikit-learn, which needs no JAX.

    Parameters
    ----------
    latent
        Shape ``(n_cells, n_latent)``.
    labels
        Cell types, shape ``(n_cells,)``.

    Returns
    -------
    ``nmi``, ``ari``, ``silhouette`` and their ``mean``.

    References
    ----------
    Luecken et al., Nature Methods 19 (2022), Benchmarking atlas-level data integration in
    single-cell genomics.
    """
    labels = np.asarray(labels, dtype=str)
    k_means = KMeans(len(np.unique(labels)), n_init=10, random_state=0)
    clusters = k_means.fit_predict(latent)
    scores = {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "silhouette": float((silhouette_score(latent, labels) + 1) / 2),
    }
    return {**scores, "mean": float(np.mean(list(scores.values())))}
