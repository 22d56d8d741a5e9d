"""The nearest of many points, by looking at all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lucidvi.kernels import _team
from lucidvi.kernels._warm_up import announced

#: States that a thread takes at a time.
STATES_PER_PART = 64


def nearest(
    columns: NDArray[np.float32], z: NDArray[np.floating], n_neighbours: int
) -> NDArray[np.int64]:
    """Return the positions of the points that lie closest to states, by Euclidean distance.

    Of a few dimensions that takes less time than a tree, of up to some 100,000 points: the
    distances of 16 of them are one instruction a dimension.

    Parameters
    ----------
    columns
        The points, each dimension in one piece of memory, shape ``(n_dimensions, n_points)``.
    z
        The states, shape ``(n_states, n_dimensions)``.
    n_neighbours
        How many points, at most ``n_points``.

    Returns
    -------
    Shape ``(n_states, n_neighbours)``, nearest first.

    Raises
    ------
    ValueError
        If a state is not finite, so that nothing is near it.
    """
    from lucidvi.kernels._compiled_nearest import BLOCK, nearest

    columns, z = (np.ascontiguousarray(array, dtype=np.float32) for array in (columns, z))
    if not np.isfinite(z).all():
        raise ValueError("a latent state is not finite")
    (n_dimensions, n_points), n_states = columns.shape, len(z)
    found = np.zeros((n_states, n_neighbours), dtype=np.int64)
    if found.size == 0:
        return found
    n_parts = -(-n_states // STATES_PER_PART)
    n_threads = min(_team.n_threads(), n_parts)
    scratch = np.empty((n_threads + 1, BLOCK + n_neighbours), dtype=np.float32)
    taken = np.zeros(1, dtype=np.int64)
    addresses = [array.ctypes.data for array in (columns, z, found, scratch, taken)]
    sizes = [n_states, n_points, n_dimensions, n_neighbours]
    with announced():
        _team.run(nearest, [*sizes, *addresses], n_parts, n_threads)
    return found
