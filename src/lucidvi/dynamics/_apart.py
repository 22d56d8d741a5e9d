"""Whether cells of two times differ at all, as seen when their times are permuted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

#: Most cells of a time that are compared, and how often times are permuted.
MOST_CELLS, N_PERMUTATIONS = 1_000, 999


def chance_of_apart(
    first: NDArray[np.float64], second: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Return how often cells of permuted times are as far apart as those of two times.

    Far apart by the energy distance, which is zero of equal distributions only, and does not
    depend on a rotation; see :func:`lucidvi.dynamics._energy.energy_distance`.

    Parameters
    ----------
    first, second
        States of the cells of each time, shapes ``(n_cells, n_latent)``.
    rng
        Generator of the permutations.

    Returns
    -------
    p-value of a permutation test, 0.001 at least.
    """
    samples = [
        z if len(z) <= MOST_CELLS else z[rng.choice(len(z), MOST_CELLS, replace=False)]
        for z in (first, second)
    ]
    z = np.concatenate(samples)
    n, m = map(len, samples)
    weights = np.repeat([1 / n, -1 / m], [n, m])
    several = np.stack([weights, *(rng.permutation(weights) for _ in range(N_PERMUTATIONS))], 1)
    distances = -(several * (cdist(z, z) @ several)).sum(axis=0)
    return float((distances >= distances[0] * (1 - 1e-9)).mean())
