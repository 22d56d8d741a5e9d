"""The aggregate posterior: how far it is from the prior, and what of the prior it covers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

#: Share of the cells in whose region the aggregate posterior counts as covering the prior.
COVERED = 0.99
#: Draws of the prior, and rows of the matrix of densities that are held at once.
N_PRIOR, BLOCK = 2000, 500


@dataclass(frozen=True)
class Aggregate:
    """The aggregate posterior against the prior, see :func:`aggregate`.

    Parameters
    ----------
    kl_lower, kl_upper
        Bounds of its KL to the prior, nats.
    holes
        Share of the prior that no cell covers.
    """

    kl_lower: float
    kl_upper: float
    holes: float


def aggregate(loc: np.ndarray, scale: np.ndarray, seed: int = 0) -> Aggregate:
    r"""Compare the aggregate posterior with a standard normal prior.

    With one draw :math:`z_n` of each cell's posterior

    .. math::
        \widehat{\mathrm{KL}} = \frac{1}{N} \sum_n \log \hat q(z_n) - \log p(z_n), \quad
        \hat q(z_n) = \frac{1}{|S|} \sum_{m \in S} q(z_n \mid x_m)

    is in expectation too high if the cell itself is among the :math:`S`, and too low if it is
    not (Jensen's inequality). The mean KL of the cells less these bounds is the encoder's mutual
    information (Hoffman and Johnson), from below at most :math:`\log N`. The bounds are far apart
    where the latent space tells nearly all cells apart.

    The aggregate posterior covers a point where it is at least as dense as the other cells'
    components are at 99 % of the cells' draws; were it the prior, 1 % would be left over.

    Parameters
    ----------
    loc, scale
        Means and standard deviations of the cells' posteriors, shape ``(n_cells, n_latent)``.
    seed
        Of the draws.

    References
    ----------
    Hoffman and Johnson, NIPS workshop (2016), ELBO surgery.
    """
    rng = np.random.default_rng((seed, 1))  # not the draws of data simulated from this seed
    n, n_latent = loc.shape
    z = loc + scale * rng.normal(size=loc.shape)
    everyone, others = np.empty(n), np.empty(n)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        log_q = log_densities(z[rows], loc, scale)
        everyone[rows] = logsumexp(log_q, axis=1) - math.log(n)
        log_q[rows - start, rows] = -np.inf
        others[rows] = logsumexp(log_q, axis=1) - math.log(max(1, n - 1))
    prior = rng.normal(size=(N_PRIOR, n_latent))
    blocks = (prior[i : i + BLOCK] for i in range(0, N_PRIOR, BLOCK))
    density = np.concatenate([logsumexp(log_densities(b, loc, scale), axis=1) for b in blocks])
    holes = (density - math.log(n) < np.quantile(others, 1 - COVERED)).mean()
    log_prior = -0.5 * (z**2).sum(axis=1) - 0.5 * n_latent * math.log(2 * math.pi)
    return Aggregate(
        kl_lower=max(0.0, float((others - log_prior).mean())),
        kl_upper=max(0.0, float((everyone - log_prior).mean())),
        holes=float(holes),
    )


def log_densities(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Log densities of points under the cells' normals, shape ``(n_points, n_cells)``."""
    precision = scale**-2.0
    square = z**2 @ precision.T - 2 * z @ (loc * precision).T + (loc**2 * precision).sum(axis=1)
    log_normalizer = np.log(scale).sum(axis=1) + 0.5 * z.shape[1] * math.log(2 * math.pi)
    return -0.5 * square - log_normalizer
