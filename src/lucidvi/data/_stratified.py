"""A sample in which every stratum has its share."""

from __future__ import annotations

import numpy as np


def stratified(
    strata: np.ndarray, n: int, rng: np.random.Generator, cells: np.ndarray | None = None
) -> np.ndarray:
    """Choose ``n`` cells so that every stratum has its share, to the next cell.

    Parameters
    ----------
    strata
        Stratum of each cell, integers.
    n
        Cells to choose; all, if there are fewer.
    rng
        Chooses.
    cells
        What to return of those chosen, by default their positions.
    """
    cells = np.arange(len(strata)) if cells is None else cells
    if n >= len(strata):
        return cells
    # In each stratum the cells get evenly spaced places in [0, 1), in random order and with a
    # random start; the first n places are then shared out proportionally.
    place = np.empty(len(strata))
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return cells[np.argsort(place, kind="stable")[:n]]
