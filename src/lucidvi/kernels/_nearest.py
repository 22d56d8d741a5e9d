"""The nearest of many points, box by box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lucidvi.kernels import _team
from lucidvi.kernels._warm_up import announced

#: States that a thread takes at a time.
STATES_PER_PART = 64
#: Points of a box, at least, and boxes, at most about: each state is compared with all boxes.
LEAST, MOST_BOXES = 64, 1_024


class Points:
    """Points, of which the nearest to states are found exactly.

    They are kept in boxes of neighbours: halves of the points, cut where they spread most, and
    halves of these. A box that is further from a state than as many points as are wanted is not
    looked into. The distances of 16 points are one instruction a dimension.

    Parameters
    ----------
    points
        Shape ``(n_points, n_dimensions)``.
    """

    def __init__(self, points: NDArray[np.floating]) -> None:
        points = np.asarray(points, dtype=np.float32)
        self.n_points, self.n_dimensions = points.shape
        self._per_box = max(LEAST, -(-self.n_points // MOST_BOXES))
        self._order = _in_boxes(points, np.arange(self.n_points), self._per_box)
        in_order = points[self._order]
        self._columns = np.ascontiguousarray(in_order.T)
        starts = np.arange(0, self.n_points, self._per_box)
        self._low, self._high = (
            np.ascontiguousarray(end.reduceat(in_order, starts).T)
            for end in (np.minimum, np.maximum)
        )

    def nearest(self, z: NDArray[np.floating], n_neighbours: int) -> NDArray[np.int64]:
        """Return the positions of the points that lie closest to states, by Euclidean distance.

        Parameters
        ----------
        z
            The states, shape ``(n_states, n_dimensions)``.
        n_neighbours
            How many points, at most ``n_points``.

        Returns
        -------
        Shape ``(n_states, n_neighbours)``, nearest first; of equally near ones the first comes
        first.

        Raises
        ------
        ValueError
            If a state is not finite, so that nothing is near it.
        """
        from lucidvi.kernels._compiled_nearest import nearest

        z = np.ascontiguousarray(z, dtype=np.float32)
        if not np.isfinite(z).all():
            raise ValueError("a latent state is not finite")
        n_states, n_boxes = len(z), self._low.shape[1]
        found = np.zeros((n_states, n_neighbours), dtype=np.int64)
        if found.size == 0:
            return found
        n_parts = -(-n_states // STATES_PER_PART)
        n_threads = min(_team.n_threads(), n_parts)
        scratch = np.empty((n_threads + 1, n_boxes + self._per_box + n_neighbours), np.float32)
        taken = np.zeros(1, dtype=np.int64)
        arrays = (self._columns, self._low, self._high, self._order, z, found, scratch, taken)
        sizes = [n_states, self.n_points, self.n_dimensions, n_neighbours, n_boxes, self._per_box]
        with announced():
            addresses = [array.ctypes.data for array in arrays]
            _team.run(nearest, [*sizes, *addresses], n_parts, n_threads)
        return found


def _in_boxes(
    points: NDArray[np.float32], chosen: NDArray[np.int64], per_box: int
) -> NDArray[np.int64]:
    """Return positions of points in an order in which each box is a run of ``per_box``."""
    n_boxes = -(-len(chosen) // per_box)
    if n_boxes <= 1:
        return chosen
    middle = n_boxes // 2 * per_box
    x = points[chosen]
    widest = x[:, int(np.argmax(x.var(axis=0)))]
    halves = np.split(chosen[np.argpartition(widest, middle)], [middle])
    return np.concatenate([_in_boxes(points, half, per_box) for half in halves])
