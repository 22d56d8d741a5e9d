"""When cells are: the time along the flow."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lucidvi._positions import cell_positions
from lucidvi.checks import check_whole
from lucidvi.dynamics.transitions._flow import Flow
from lucidvi.dynamics.transitions._loops import Times, opened
from lucidvi.dynamics.transitions._neighbours import N_NEIGHBORS, Neighbours
from lucidvi.dynamics.transitions._potential import Advances

Array = NDArray[np.float64]
#: Of root cells, the share that is before the time of zero.
EARLY = 0.05
#: Share of the flow that goes round from which on a loop is looked for, and said to be one.
LOOP = 0.1


def latent_time(
    z: Any,
    velocity: ArrayLike | None = None,
    root: Any | None = None,
    *,
    uncertainty: ArrayLike | None = None,
    n_neighbors: int = N_NEIGHBORS,
) -> pd.Series:
    r"""Return the time of each cell along the flow, in units of the velocity.

    Between neighbours, the velocity says how much time passes: as much as it takes to go the part
    of the displacement that is along it. All of these are met as well as they can be together, by

    .. math::
        \min_T \sum_{ij} w_{ij} (T_j - T_i - a_{ij})^2, \qquad
        a_{ij} = \frac{\langle z_j - z_i, \bar v_{ij} \rangle}{|\bar v_{ij}|^2 + e_{ij}^2}, \qquad
        w_{ij} = K_{ij} \left(\frac{|\bar v_{ij}|^2}{|\bar v_{ij}|^2 + e_{ij}^2}\right)^2

    with velocities :math:`\bar v` that are means over the neighbours of both cells, their squared
    standard error :math:`e^2`, and the kernel :math:`K` of :func:`transition_matrix`. Single
    velocities would make time too short, since their errors add to :math:`|v|^2`. Nothing
    depends on a rotation of the latent space.

    In simulated cells these times are nearer to the true ones than shortest paths along the flow
    are, for which noise is a shortcut (``tests/dynamics/transitions/test_choices.py``).

    Where the flow goes round, such as in the cell cycle, no time can rise along all of it. It is
    cut at the root, where a turn ends and the next begins; give several root cells then, since
    the place of one is as uncertain as its state.

    Parameters
    ----------
    z, velocity, uncertainty, n_neighbors
        See :func:`transition_matrix`. Where no velocity is known, times are interpolated.
    root
        Cells where time begins: a mask, positions or names. By default the earliest cell of each
        part of the cells that hangs together.

    Returns
    -------
    Time of each cell. It is zero where the root begins (at 5 % of its cells), and
    negative upstream of it; NaN for cells that have no path of neighbours to the root.

    Raises
    ------
    lucidvi.errors.DataError
        If ``root`` has no cells, or for the reasons of :func:`transition_matrix`.

    Warns
    -----
    UserWarning
        If cells have no path of neighbours to the root, or to each other; or the flow goes round
        and no root says where it begins.

    References
    ----------
    Jiang et al., Math. Program. 127 (2011), 203, for the least squares of differences.

    Examples
    --------
    >>> import numpy as np
    >>> from lucidvi import dynamics
    >>> z = np.linspace(0, 6, 61)[:, None]
    >>> time = dynamics.latent_time(z, np.full((61, 1), 2.0))
    >>> float(time.iloc[-1].round(3))
    3.0
    """
    check_whole("n_neighbors", n_neighbors, least=1)
    flow = Flow.of(z, velocity, uncertainty)
    names = flow.names_with("root", root)
    given = None if root is None else np.unique(cell_positions(root, names.astype(str), "root"))
    early = 0.0 if given is None else EARLY
    neighbours = Neighbours.of(flow.z, n_neighbors)
    advances, part = Advances.of(flow, neighbours), neighbours.part
    time = advances.potential()
    rooted = np.unique(part if given is None else part[given])
    doubts = []
    for number in rooted:
        cells = part == number
        if given is None:
            root_cells = np.flatnonzero(cells)[[time[cells].argmin()]]
        else:
            root_cells = given[part[given] == number]
        found = Times(time, advances.unexplained(time, cells[neighbours.first]))
        if found.unexplained > LOOP:
            found = opened(root_cells, early, found, advances, cells)
            chosen = (
                str(names[root_cells[0]]) if given is None and found.time is not time else None
            )
            doubts += _doubts_of_loops(found, chosen)
        time = np.where(cells, found.time - np.quantile(found.time[root_cells], early), time)
    lost = ~np.isin(part, rooted)
    for doubt in doubts + _doubts_of_parts(part, lost, names, is_chosen=given is None):
        warnings.warn(doubt, stacklevel=2)
    return pd.Series(np.where(lost, np.nan, time), names, name="time")


def _doubts_of_loops(found: Times, chosen: str | None) -> list[str]:
    """Say which cell was chosen to cut a loop at, and how much of the flow still goes round."""
    doubts = []
    if chosen is not None:
        doubts.append(
            "The flow goes round, and no root says where a turn begins. It is taken to begin at "
            f"the cell {chosen!r}."
        )
    if found.unexplained > LOOP:
        doubts.append(
            f"The velocities contradict each other: {found.unexplained:.0%} of what they say of "
            "time between neighbours is met by no time. They may be noise, or go round in loops "
            "that do not pass the root."
        )
    return doubts


def _doubts_of_parts(
    part: NDArray[np.integer], lost: NDArray[np.bool_], names: pd.Index, is_chosen: bool
) -> list[str]:
    """Say of which cells the times are not known, or not compared."""
    sizes = np.bincount(part)
    if lost.any():
        return [
            f"{lost.sum():,} of {len(lost):,} cells, {str(names[lost.argmax()])!r} first, have no "
            "path of neighbours to the root. Their times are NaN."
        ]
    if is_chosen and len(sizes) > 1:
        return [
            f"The cells are in {len(sizes):,} parts without neighbours in each other, the "
            f"smallest of {sizes.min():,} cells. Times of each begin at its earliest cell, and "
            "cannot be compared between them."
        ]
    return []
