"""The aggregate posterior: how far it is from the prior, and what of the prior it covers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from lucidvi.audit.subject import CellPriors, spread_by

#: Share of the cells in whose region the aggregate posterior counts as covering the prior.
COVERED = 0.99
#: Draws of the prior, and rows of the matrix of densities that are held at once.
N_PRIOR, BLOCK = 2000, 500
#: Fewest cells of one prior, where there are several, and share of all cells that such have.
GROUP_MIN, GROUPED_MIN = 20, 0.5


@dataclass(frozen=True, eq=False)
class Aggregate:
    """The aggregate posterior against the prior, see :func:`aggregate`.

    Parameters
    ----------
    kl_lower, kl_upper
        Bounds of its KL to the prior, nats.
    holes
        Share of the prior that no cell covers.
    compared
        Which cells were compared, shape ``(n_cells,)``: those that share their prior with enough
        others. Without any the numbers are NaN.
    """

    kl_lower: float
    kl_upper: float
    holes: float
    compared: np.ndarray


def aggregate(
    loc: np.ndarray, scale: np.ndarray, seed: int = 0, priors: CellPriors | None = None
) -> Aggregate:
    r"""Compare the aggregate posterior with the prior.

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

    Where the prior depends on covariates, the cells of equal ones, :math:`S`, are compared with
    their own prior, and all of it are means over the cells.

    Parameters
    ----------
    loc
        Means of the cells' posteriors, shape ``(n_cells, n_latent)``.
    scale
        Standard deviations of the posteriors, of the same shape, or factors of their covariances,
        lower triangular, shape ``(n_cells, n_latent, n_latent)``.
    seed
        Seed of the draws.
    priors
        Priors of the cells; by default the standard normal.

    References
    ----------
    Hoffman and Johnson, NIPS workshop (2016), ELBO surgery.
    """
    rng = np.random.default_rng((seed, 1))  # not the draws of data simulated from this seed
    n = len(loc)
    priors = CellPriors.standard_normal(*loc.shape) if priors is None else priors
    z = loc + spread_by(scale, rng.normal(size=loc.shape))
    everyone, others, holes = (np.full(n, np.nan) for _ in range(3))
    drawn, drawn_of = priors.draw(N_PRIOR, seed)
    sizes = np.bincount(priors.group)
    for group in np.flatnonzero(sizes >= (GROUP_MIN if len(sizes) > 1 else 2)):
        members = np.flatnonzero(priors.group == group)
        everyone[members], others[members] = densities(z, loc, scale, members)
        points = drawn[priors.group[drawn_of] == group]
        holes[members] = uncovered(points, loc[members], scale[members], others[members])
    compared = ~np.isnan(everyone)
    if compared.mean() < GROUPED_MIN:
        return Aggregate(np.nan, np.nan, np.nan, np.zeros(n, dtype=bool))
    log_prior = priors.log_prob(z)
    return Aggregate(
        kl_lower=max(0.0, float((others - log_prior)[compared].mean())),
        kl_upper=max(0.0, float((everyone - log_prior)[compared].mean())),
        holes=float(holes[compared].mean()),
        compared=compared,
    )


def densities(
    z: np.ndarray, loc: np.ndarray, scale: np.ndarray, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log density of cells' draws under all members' posteriors, and under the other members'."""
    n = len(members)
    everyone, others = np.empty(n), np.empty(n)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        log_q = log_densities(z[members[rows]], loc[members], scale[members])
        everyone[rows] = logsumexp(log_q, axis=1) - math.log(n)
        log_q[rows - start, rows] = -np.inf
        others[rows] = logsumexp(log_q, axis=1) - math.log(n - 1)
    return everyone, others


def uncovered(points: np.ndarray, loc: np.ndarray, scale: np.ndarray, others: np.ndarray) -> float:
    """Share of points at which the cells are thinner than at 99 % of their own draws."""
    blocks = (points[i : i + BLOCK] for i in range(0, len(points), BLOCK))
    density = np.concatenate([logsumexp(log_densities(b, loc, scale), axis=1) for b in blocks])
    return float((density - math.log(len(loc)) < np.quantile(others, 1 - COVERED)).mean())


def log_densities(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Log densities of points under the cells' normals, shape ``(n_points, n_cells)``."""
    log_normalizer = 0.5 * z.shape[1] * math.log(2 * math.pi)
    if scale.ndim == 3:
        square = squares_of_full(z, loc, scale)
        log_normalizer += np.log(np.diagonal(scale, axis1=1, axis2=2)).sum(axis=1)
        return -0.5 * square - log_normalizer
    precision = scale**-2.0
    square = z**2 @ precision.T - 2 * z @ (loc * precision).T + (loc**2 * precision).sum(axis=1)
    return -0.5 * square - np.log(scale).sum(axis=1) - log_normalizer


def squares_of_full(z: np.ndarray, loc: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances, shape ``(n_points, n_cells)``."""
    k = z.shape[1]
    inverse = np.linalg.inv(factor)
    precision = np.swapaxes(inverse, 1, 2) @ inverse
    shifted = np.einsum("nij,nj->ni", precision, loc)
    products = (z[:, :, None] * z[:, None, :]).reshape(len(z), k * k)
    constant = (shifted * loc).sum(axis=1)
    return products @ precision.reshape(-1, k * k).T - 2 * z @ shifted.T + constant
