"""How far donors differ in the abundance of labels, beyond what the sampling of cells explains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import softmax

from lucidvi.simulate.comparisons._comparison import PSEUDO_COUNT

#: Donors that are drawn to see how far their labels vary, and times that they are.
N_DRAWN, ROUNDS = 4_000, 8


def label_spread(numbers: NDArray[np.integer]) -> NDArray[np.float64]:
    r"""Estimate the standard deviation of donors' log abundance of each label.

    That is by simulated moments on the scale that labels are compared on, as donors who nearly
    lack a label vary far more in its logarithm than in its share. The log odds of a share vary by
    the abundances of all labels,

    .. math::
        \mathrm{var} \log \frac{p_{dk}}{1 - p_{dk}} \approx
            \sigma_k^2 + \sum_{j \ne k} \left(\frac{p_j}{1 - p_k}\right)^2 \sigma_j^2,

    which is solved for :math:`\sigma^2 \ge 0` by least squares, and again for what drawn donors of
    as many cells and that :math:`\sigma` still vary too little or too much. Donors weigh as
    :math:`m / (1 + m)` with :math:`m = n_d p_k (1 - p_k)`: sampling alone makes the log odds vary
    by about :math:`1 / m`.

    Parameters
    ----------
    numbers
        Numbers of cells, shape ``(n_donors, n_labels)``; every label has some, and there are
        two donors or more.

    Returns
    -------
    Natural logarithm, shape ``(n_labels,)``.
    """
    size, share = numbers.sum(axis=1), numbers.sum(axis=0) / numbers.sum()
    sampled = size[:, None] * share * (1 - share)
    weight = sampled / (1 + sampled)
    seen = _variation(numbers, weight)
    mixing = (share / (1 - share[:, None])) ** 2
    np.fill_diagonal(mixing, 1)
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(-(-N_DRAWN // len(size)), len(size), len(share)))
    variance = nnls(mixing, seen)[0]
    for _ in range(ROUNDS):
        spread = np.sqrt(variance)
        p = softmax(label_centres(share, spread) + spread * normal, axis=-1)
        # The same numbers for each round, of which one then goes on where the last ended.
        drawn = _variation(np.random.default_rng(1).multinomial(size, p), weight).mean(axis=0)
        variance = nnls(mixing, mixing @ variance + seen - drawn)[0]
    return np.sqrt(variance)


def label_centres(share: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean log abundance with which donors' mean shares are those of the data.

    Parameters
    ----------
    share
        Shares of all cells, shape ``(n_labels,)``.
    spread
        Standard deviation of donors' log abundance, ``(n_labels,)``.

    Returns
    -------
    Natural logarithm, ``(n_labels,)``, up to a constant.
    """
    centre = np.log(share)
    deviation = spread * np.random.default_rng(0).normal(size=(N_DRAWN, len(share)))
    for _ in range(ROUNDS if spread.any() else 0):
        mean = softmax(centre + deviation, axis=1).mean(axis=0)
        centre = centre + np.log(share) - np.log(mean)
    return centre


def _variation(numbers: NDArray[np.integer], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted variance over the donors of the log odds, numbers ``(..., n_donors, n_labels)``."""
    others = numbers.sum(axis=-1, keepdims=True) - numbers
    odds = np.log((numbers + PSEUDO_COUNT) / (others + PSEUDO_COUNT))
    weight = weight / weight.sum(axis=0)
    centre = (weight * odds).sum(axis=-2, keepdims=True)
    return (weight * (odds - centre) ** 2).sum(axis=-2) / (1 - (weight**2).sum(axis=0))
