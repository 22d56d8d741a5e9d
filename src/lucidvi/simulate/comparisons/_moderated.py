"""Linear models of many genes on few samples, with variances that borrow from each other."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import t as student

#: Genes from which on the prior variance is a curve over the expression, and the curve's degree.
TREND_GENES, TREND_DEGREE = 50, 3
#: Smallest variance, as a share of the median: genes without any are no surer than that.
VARIANCE_MIN = 1e-5
#: Logarithms between which prior degrees of freedom are looked for.
LOG_DF = (-10.0, 20.0)


def moderated_t(
    y: NDArray[np.float64], design: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Test the last coefficient of a linear model of each gene.

    The residual variance :math:`s^2_g` on :math:`d` degrees of freedom is shrunk to a prior that
    all genes share, a curve :math:`s_0^2` over their mean expression,

    .. math::
        \tilde s^2_g = \frac{d_0 s_0^2 + d s^2_g}{d_0 + d}, \qquad
        t_g = \frac{\hat\beta_g}{\tilde s_g \sqrt{v}} \sim t_{d_0 + d}

    with :math:`v` the last diagonal value of :math:`(X^\top X)^{-1}`.

    Parameters
    ----------
    y
        Log expression, shape ``(n_samples, n_genes)``.
    design
        Shape ``(n_samples, n_coefficients)``, of fewer coefficients than samples in its rank.

    Returns
    -------
    Estimates, in the units of ``y``, and two-sided p-values, each of shape ``(n_genes,)``.

    References
    ----------
    Smyth, Statistical Applications in Genetics and Molecular Biology 3 (2004), Linear models and
    empirical Bayes methods for assessing differential expression in microarray experiments.
    """
    beta, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    df = len(design) - int(rank)
    variance = ((y - design @ beta) ** 2).sum(axis=0) / df
    variance = np.maximum(variance, VARIANCE_MIN * np.median(variance))
    variance = np.maximum(variance, np.finfo(float).tiny)
    prior_df, prior = prior_of(variance, df, y.mean(axis=0))
    weight = df / (prior_df + df)  # 0 if all variances are the prior's
    shrunk = weight * variance + (1 - weight) * prior
    unscaled = np.linalg.pinv(design.T @ design)[-1, -1]
    t = beta[-1] / np.sqrt(shrunk * unscaled)
    # No more degrees of freedom than all genes have together.
    return beta[-1], 2 * student.sf(np.abs(t), min(prior_df + df, df * y.shape[1]))


def prior_of(
    variance: NDArray[np.float64], df: int, mean: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Fit the prior of the variances by the moments of their logarithms.

    Parameters
    ----------
    variance
        Positive, shape ``(n_genes,)``.
    df
        Degrees of freedom of each.
    mean
        Mean log expression, shape ``(n_genes,)``, over which the prior is a cubic curve if there
        are genes enough.

    Returns
    -------
    Degrees of freedom of the prior, which may be infinite, and its variances, ``(n_genes,)``.
    """
    n = len(variance)
    log = np.log(variance) - digamma(df / 2) + np.log(df / 2)
    degree = TREND_DEGREE if n >= TREND_GENES and np.ptp(mean) > 0 else 0
    centre = Polynomial.fit(mean, log, degree)(mean) if degree else np.full(n, log.mean())
    free = n - degree - 1
    if free == 0:  # one gene has no others to borrow from
        return 0.0, variance
    excess = ((log - centre) ** 2).sum() / free - polygamma(1, df / 2)
    if excess <= 0:
        return np.inf, np.exp(centre)
    half = np.exp(brentq(lambda v: _log_trigamma(v) - np.log(excess), *LOG_DF))
    return 2 * half, np.exp(centre + digamma(half) - np.log(half))


def _log_trigamma(log_value: float) -> float:
    return float(np.log(polygamma(1, np.exp(log_value))))
