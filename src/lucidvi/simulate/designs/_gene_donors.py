"""How far donors differ beyond what the sampling of their cells explains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import iqr

from lucidvi.simulate.comparisons._comparison import indicator, row_blocks

#: Mean count in a cell from which on a gene's own variance is looked at.
EXPRESSED_MIN = 0.05


def donor_spread(counts: Any, donor: NDArray[np.integer]) -> NDArray[np.float64]:
    r"""Estimate the standard deviation of donors' log expression, by the method of moments.

    That is :math:`\sigma = \sqrt{\log(1 + \mathrm{cv}^2)}` of :func:`_squared_variation`. Few
    donors leave the variance of a gene uncertain (:math:`2 T^2 / (n - 1)` with the variance
    :math:`T` of their means), so those of all genes are shrunk to their median, as far as they
    scatter no more than that.

    Parameters
    ----------
    counts
        Counts of cells that have some, shape ``(n_cells, n_genes)``.
    donor
        Code of each cell's donor, ``(n_cells,)``; -1 for cells to leave out. At least two donors
        have two cells.

    Returns
    -------
    Natural logarithm, shape ``(n_genes,)``.
    """
    variation, whole, mean_count, n_donors = _squared_variation(counts, donor)
    expressed = (mean_count >= EXPRESSED_MIN) & np.isfinite(variation)
    if not expressed.any():
        return np.zeros(counts.shape[1])
    variation, whole = variation[expressed], whole[expressed]
    squared = np.full(counts.shape[1], max(np.median(variation), 0))
    squared[expressed] = _shrunk(variation, np.maximum(whole - variation, 0), n_donors)
    return np.sqrt(np.log1p(squared))


def _squared_variation(
    counts: Any, donor: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    r"""Estimate the squared coefficient of variation of donors' expression.

    With :math:`y` the count over the total of its cell, the mean over the pairs of different cells
    of one donor of :math:`y y'` has the expectation of its squared expression, and the mean over
    pairs of cells of different donors that of the squared mean, whatever the noise of a cell:

    .. math::
        \widehat{\mathrm{cv}}^2 = \frac{\overline{y y'}_\text{same donor}}
            {\overline{y y'}_\text{different donors}} - 1

    Donors weigh as the cells that they have.

    Parameters
    ----------
    counts, donor
        As in :func:`donor_spread`.

    Returns
    -------
    The estimate, which may be negative, and NaN where there are too few counts; that of the
    donors' means, which includes the sampling of their cells; the mean count in a cell; each of
    shape ``(n_genes,)``. The number of donors with two cells.
    """
    n = np.bincount(donor[donor >= 0]).astype(float)
    used = n > 1
    first, square, total = (np.zeros((len(n), counts.shape[1])) for _ in range(3))
    for rows, block in row_blocks(counts):
        of_donor = indicator(donor[rows], len(n))
        total += (of_donor @ block).toarray()
        size = np.maximum(np.asarray(block.sum(axis=1)).ravel(), 1)
        block = sparse.diags(1 / size) @ block
        first += (of_donor @ block).toarray()
        square += (of_donor @ block.power(2)).toarray()
    n, first, square = n[used, None], first[used], square[used]
    mean, weight = first / n, n / n.sum()
    same = (weight * (first**2 - square) / (n * (n - 1))).sum(axis=0)
    centre = (weight * mean).sum(axis=0)
    different = (centre**2 - (weight**2 * mean**2).sum(axis=0)) / (1 - (weight**2).sum())
    level = np.where(different > 0, different, np.nan)
    whole = (weight * (mean - centre) ** 2).sum(axis=0) / level
    return same / level - 1, whole, total.sum(axis=0) / n.sum(), len(n)


def _shrunk(
    variation: NDArray[np.float64], noise: NDArray[np.float64], n_donors: int
) -> NDArray[np.float64]:
    """Shrink variances to their median by how uncertain each is."""
    centre = max(float(np.median(variation)), 0.0)
    error = 2 * (noise + centre) ** 2 / (n_donors - 1)
    scatter = max(float(iqr(variation, scale="normal")) ** 2 - float(np.median(error)), 0.0)
    weight = np.divide(scatter, scatter + error, out=np.ones_like(variation), where=error > 0)
    return np.maximum(weight * variation + (1 - weight) * centre, 0)
