"""How far two samples are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist


def energy_distance(
    first: NDArray[np.float64], weight: NDArray[np.float64], second: NDArray[np.float64]
) -> float:
    r"""Return the energy distance of a weighted sample and another, without bias of their sizes.

    .. math::
        2 \operatorname{E} |X - Y| - \operatorname{E} |X - X'| - \operatorname{E} |Y - Y'|

    It is zero, on average, of samples of one distribution; it may be negative.

    Parameters
    ----------
    first, second
        States, shapes ``(n_first, n_latent)`` and ``(n_second, n_latent)``.
    weight
        Of the first sample, shape ``(n_first,)``.

    References
    ----------
    Szekely and Rizzo, InterStat 5 (2004), Testing for equal distributions in high dimension.
    """
    w, n = weight / weight.sum(), len(second)
    among = w @ cdist(first, first) @ w / (1 - (w**2).sum())
    own = cdist(second, second).sum() / (n * (n - 1))
    return float(2 * (w @ cdist(first, second)).mean() - among - own)
