"""Where each count lies in its predicted distribution."""

from __future__ import annotations

import numpy as np
from scipy import special, stats


def quantile_residuals(
    lower: np.ndarray, upper: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    r"""Randomized quantile residuals: uniform draws between :math:`F(x - 1)` and :math:`F(x)`.

    They are uniform on [0, 1] if the distribution is right.

    References
    ----------
    Dunn and Smyth, J. Comput. Graph. Stat. 5 (1996), Randomized quantile residuals.
    """
    return lower + rng.random(lower.shape) * (upper - lower)


def ks_uniform(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kolmogorov-Smirnov distance of each column from uniform, and its p-value.

    The p-value is the asymptotic one with Stephens' correction for few rows.

    Parameters
    ----------
    residuals
        Shape ``(n_cells, n_genes)``.
    """
    n = len(residuals)
    ordered = np.sort(residuals, axis=0)
    steps = np.arange(n + 1)[:, None] / n
    above = (steps[1:] - ordered).max(axis=0)
    below = (ordered - steps[:-1]).max(axis=0)
    distance = np.maximum(above, below)
    root = np.sqrt(n)
    return distance, special.kolmogorov(distance * (root + 0.12 + 0.11 / root))


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q-values."""
    return stats.false_discovery_control(p)


def coverage(residuals: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of residuals in the central interval of each level, which it should be."""
    distance = np.abs(residuals - 0.5).ravel()
    return np.array([(distance <= level / 2).mean() for level in levels])


def excess_correlation(residuals: np.ndarray) -> float:
    r"""Typical correlation of two genes' residuals, beyond that of independent ones.

    .. math:: \sqrt{\max(0, \overline{r^2} - 1 / (n - 1))}

    over all pairs of genes, with residuals brought to normal scores.

    NaN without two genes and two cells.

    Parameters
    ----------
    residuals
        Shape ``(n_cells, n_genes)``, uniform if the model is right.
    """
    n, n_genes = residuals.shape
    if n_genes < 2 or n < 2:
        return float("nan")
    scores = special.ndtri(residuals.clip(1e-6, 1 - 1e-6))
    squares = correlations(scores)[np.triu_indices(n_genes, 1)] ** 2
    return float(np.sqrt(max(0.0, squares.mean() - 1 / (n - 1))))


def correlations(values: np.ndarray) -> np.ndarray:
    """Correlations of the columns; 0 with one that is constant."""
    scores = values - values.mean(axis=0)
    scores = scores / np.sqrt((scores**2).sum(axis=0)).clip(min=1e-12)
    return scores.T @ scores
