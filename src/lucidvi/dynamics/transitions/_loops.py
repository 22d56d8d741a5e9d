"""Flows that go round: where a turn ends and the next begins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from lucidvi.dynamics.transitions._neighbours import Neighbours
from lucidvi.dynamics.transitions._potential import Advances

Array = NDArray[np.float64]
#: Shares of the cells, nearest to the root, in which its cross section is looked for.
SIZES = tuple(0.02 * 2**i for i in range(6))
#: Share of what is not met that may be left by a cut, and in a part that is no loop itself.
OPENED = 0.5
#: Least that another cut has to explain more, in which more pairs are parted.
GAIN = 0.01


class Times(NamedTuple):
    """Times, and how well they meet what velocities say.

    Parameters
    ----------
    time
        Time of each cell, shape ``(n_cells,)``.
    unexplained
        Share of the advances that the times do not meet.
    """

    time: Array
    unexplained: float


def opened(
    root: NDArray[np.integer],
    early: float,
    before: Times,
    advances: Advances,
    cells: NDArray[np.bool_],
) -> Times:
    """Cut a loop across the flow, where the root is.

    Among the cells nearest to the root, which are no loop if they are few enough, times are found
    from these alone. Pairs of which one cell is before the root by these times, and the other
    after it, are parted. Of several numbers of nearest cells, the smallest counts that leaves as
    little unexplained as any other.

    Parameters
    ----------
    root
        Positions of the root cells.
    early
        Share of the root cells that is before the cut.
    before
        Times without a cut.
    advances
        How much later each cell is than its neighbours.
    cells
        Which cells hang together with the root.

    Returns
    -------
    Times that are found without the pairs that were parted; those without a cut, if none explains
    half of what they do not.
    """
    near = advances.neighbours
    best, most = before, OPENED * before.unexplained
    order = _nearest(root, near)
    for size in SIZES:
        inside = np.zeros(len(near), bool)
        inside[order[: max(len(root) + 1, round(size * cells.sum()))]] = True
        together = inside[near.first] & inside[near.second]
        local = advances.potential(together)
        if advances.unexplained(local, together) > most:
            continue  # a loop itself, or of too few cells
        is_before = local < np.quantile(local[root], early)
        parted = together & (is_before[near.first] != is_before[near.second])
        time = advances.potential(~parted)
        missed = advances.unexplained(time, cells[near.first] & ~parted)
        if missed < min(best.unexplained - GAIN, most):
            best = Times(time, missed)
    return best


def _nearest(root: NDArray[np.integer], near: Neighbours) -> NDArray[np.integer]:
    """Return the cells by their distance from the root along neighbours."""
    lengths = near.matrix(np.maximum(near.distance, 1e-300))
    distance = dijkstra(lengths, indices=root, min_only=True)
    return np.argsort(distance, kind="stable")[: np.isfinite(distance).sum()]
