"""Where each count lies in its predicted distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special, stats

from lucidvi.distributions import NegativeBinomial, Normal, Poisson, ZeroInflatedNegativeBinomial

#: Largest inverse dispersion whose distribution function is evaluated; above it is a Poisson's.
THETA_MAX = 1e7

Bounds = tuple[np.ndarray, np.ndarray]


def poisson_bounds(x: np.ndarray, mu: np.ndarray) -> Bounds:
    """Probability of less than, and of at most, each count under a Poisson of mean ``mu``."""
    lower = np.where(x > 0, special.gammaincc(np.maximum(x, 1), mu), 0.0)
    return lower, special.gammaincc(x + 1, mu)


def nb_bounds(x: np.ndarray, mu: np.ndarray, theta: np.ndarray) -> Bounds:
    """Probability of less than, and of at most, each count under a negative binomial."""
    theta = np.minimum(theta, THETA_MAX)
    zero = np.exp(-theta * np.log1p(mu / theta))
    lower, upper = np.zeros_like(zero), zero.copy()
    some = x > 0  # most counts are zero, and need no incomplete beta function
    mu, theta, count = np.broadcast_to(mu, x.shape)[some], theta[some], x[some]
    success = theta / (theta + mu)
    lower[some] = special.betainc(theta, count, success)
    upper[some] = special.betainc(theta, count + 1, success)
    return lower, upper


def zinb_bounds(x: np.ndarray, mu: np.ndarray, theta: np.ndarray, zi: np.ndarray) -> Bounds:
    """Do as :func:`nb_bounds`, with a share ``zi`` of inflated zeros."""
    lower, upper = nb_bounds(x, mu, theta)
    return np.where(x > 0, zi + (1 - zi) * lower, 0.0), zi + (1 - zi) * upper


def normal_bounds(x: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> Bounds:
    """Probability of at most each value, twice, since a density has no steps."""
    value = special.ndtr((x - loc) / scale)
    return value, value


#: Distribution function by likelihood, and the likelihood's parameters that it takes.
BOUNDS: dict[type, tuple[Callable[..., Bounds], tuple[str, ...]]] = {
    ZeroInflatedNegativeBinomial: (zinb_bounds, ("mu", "theta", "zi_probs")),
    NegativeBinomial: (nb_bounds, ("mu", "theta")),
    Poisson: (poisson_bounds, ("mu",)),
    Normal: (normal_bounds, ("loc", "scale")),
}


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
