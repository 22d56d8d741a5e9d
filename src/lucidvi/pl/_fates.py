"""Fates of cells: between the groups where they end, or on an embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from lucidvi.errors import DataError
from lucidvi.pl._axes import GREY, axes_or_new, legend
from lucidvi.pl._dots import MOST_GROUPS, STYLE, dots, in_short

Array = NDArray[np.float64]
#: Colours of cells that may go anywhere, and of those that reach no group.
UNDECIDED, LOST = "#D0D0D0", "#F0F0F0"
#: How far names stand from the corners, and how wide cells of one probability spread.
ROOM, SPREAD = 0.07, 0.025
#: Between two groups: bins of the probability, and height of the highest.
N_BINS, HEIGHT = 40, 0.9
#: Multiples of it, less whole numbers, fill an interval evenly.
GOLDEN = 0.5 * (5**0.5 - 1)


def fates(
    fates: pd.DataFrame,
    embedding: ArrayLike | None = None,
    color: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Plot where cells end: between the terminal groups, or on an embedding.

    Without an embedding, the groups :math:`k` are corners :math:`c_k` on a circle, and a cell is
    at :math:`\sum_k p_k c_k`: at a corner if its fate is decided, amidst those that it may still
    reach (Velten et al., Nat. Cell Biol. 19 (2017), 271). Of three groups or fewer, places say
    all of the probabilities. Between two, cells of one probability are stacked.

    Parameters
    ----------
    fates
        Probabilities of :func:`lucidvi.dynamics.fate_probabilities`, a row a cell and a column a
        group. Cells that reach none (NaN) are shown on an embedding alone.
    embedding
        Places of the cells, shape ``(n_cells, 2)``.
    color
        A number, such as the time, or the name of a group for each cell. By default the mean of
        the groups' colours, by the probabilities, and the greyer the less is decided.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes.

    Raises
    ------
    lucidvi.errors.DataError
        If there are fewer than two groups, or the arrays are not of the same cells.
    """
    p = _checked(fates)
    known = np.isfinite(p).all(axis=1)
    shown = known if embedding is None else np.ones(len(p), bool)
    if embedding is not None:
        places = _of_all("embedding", embedding, (len(p), 2))
    elif p.shape[1] == 2:
        places = _stacked(p)
    else:
        places = p @ _corners(p.shape[1]) + _spread(len(p))
    ax = axes_or_new(ax)
    if embedding is None:
        _draw_corners(ax, [str(name) for name in fates.columns])
    if color is not None:
        dots(ax, places[shown], _of_all("color", color, (len(p),))[shown])
    else:
        _draw_mixed(ax, places[shown], p[shown])
        if embedding is not None:
            _name_colours(ax, [str(name) for name in fates.columns], bool((~known).any()))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    # Above the name of the corner at the top.
    ax.set_title("Where cells end", pad=20 if embedding is None and p.shape[1] > 2 else None)
    return ax


def mixed(p: Array) -> Array:
    """Return the mean of the groups' colours, and the greyer the less is decided.

    Parameters
    ----------
    p
        Probabilities, shape ``(n_cells, n_fates)``.

    Returns
    -------
    Red, green and blue from 0 to 1, shape ``(n_cells, 3)``.
    """
    colours = np.array([to_rgb(f"C{i}") for i in range(p.shape[1])])
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropy = -(p * logs).sum(axis=1, keepdims=True) / np.log(p.shape[1])
    grey = entropy**2  # a cell that is likely to go one way has its colour
    mean = (1 - grey) * (p @ colours) + grey * np.array(to_rgb(UNDECIDED))
    return np.where(np.isfinite(p).all(axis=1, keepdims=True), mean, to_rgb(LOST)).clip(0, 1)


def _draw_mixed(ax: Axes, places: Array, p: Array) -> None:
    """Draw cells in mixed colours, those that are decided over the others."""
    decided = np.nan_to_num(p.max(axis=1), nan=-1.0)
    order = np.argsort(decided, kind="stable")
    x, y = places[order].T
    ax.scatter(x, y, c=mixed(p)[order], **{**STYLE, "alpha": 0.8})


def _name_colours(ax: Axes, names: list[str], some_are_lost: bool) -> None:
    """Add a legend of what the colours stand for."""
    entries = {in_short(name): f"C{i}" for i, name in enumerate(names)}
    if len(names) > MOST_GROUPS:  # more than there are colours
        return
    entries |= {"undecided": UNDECIDED} | ({"none is reached": LOST} if some_are_lost else {})
    for name, colour in entries.items():
        ax.add_line(Line2D([], [], linestyle="", marker="o", color=colour, label=name))
    legend(ax)


# -- between the groups -----------------------------------------------------------------------


def _corners(n: int) -> Array:
    """Return places on a circle, the first at its top, or at the left of two."""
    angle = np.pi * (0.5 if n > 2 else 1.0) - 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _spread(n: int) -> Array:
    """Return small displacements that fill a disc evenly, so that cells are not all on one dot."""
    number = np.arange(n)
    radius, angle = SPREAD * np.sqrt((number * GOLDEN) % 1), 2 * np.pi * ((number * 0.7548777) % 1)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _stacked(p: Array) -> Array:
    """Return places between two groups, with cells of one probability over each other."""
    share = np.nan_to_num(p[:, 1])
    bins = np.minimum((share * N_BINS).astype(int), N_BINS - 1)
    counts = np.bincount(bins, minlength=N_BINS)
    height = HEIGHT * np.sqrt(counts / counts.max())  # else the ends leave no room for the rest
    order = np.argsort(bins, kind="stable")
    rank = np.empty(len(p))
    rank[order] = np.arange(len(p)) - np.repeat(np.cumsum(counts) - counts, counts)
    y = height[bins] * ((rank * GOLDEN) % 1)
    return np.column_stack([2 * share - 1 + _spread(len(p))[:, 0], y])


def _draw_corners(ax: Axes, names: list[str]) -> None:
    corners = _corners(len(names))
    ring = np.vstack([corners, corners[:1]])
    ax.plot(*ring.T, color=GREY, lw=0.8, zorder=0)
    for i, (name, (x, y)) in enumerate(zip(names, corners, strict=True)):
        colour = f"C{i}" if len(names) <= MOST_GROUPS else "black"
        if len(names) == 2:
            x, y = x, -ROOM
            ha, va = ("left", "right")[i], "top"
        else:
            ha = "center" if abs(x) < 0.3 else ("left" if x > 0 else "right")
            va = "center" if abs(y) < 0.3 else ("bottom" if y > 0 else "top")
            x, y = (1 + ROOM) * x, (1 + ROOM) * y
        ax.text(x, y, in_short(name), ha=ha, va=va, color=colour, fontweight="bold")
    if len(names) > 2:
        ax.set_aspect("equal")
    ax.margins(0.02)


# -- arguments --------------------------------------------------------------------------------


def _checked(fates: Any) -> Array:
    if not isinstance(fates, pd.DataFrame):
        raise DataError(
            f"`fates` is a {type(fates).__name__}, and not a table of probabilities.",
            remedy="fates = dynamics.fate_probabilities(z, velocity, terminal)",
        )
    if fates.shape[1] < 2 or not len(fates):
        raise DataError(
            f"`fates` has the shape {fates.shape}.", remedy="give cells, and two groups or more."
        )
    p = fates.to_numpy(dtype=float)
    known = np.isfinite(p).all(axis=1)
    if not known.any():
        raise DataError("`fates` is NaN in all cells.", remedy="name other terminal groups.")
    sums = p[known].sum(axis=1)
    if (p[known] < 0).any() or not np.allclose(sums, 1, atol=1e-3):
        raise DataError(
            f"`fates` has rows that sum to {sums.min():.3g} to {sums.max():.3g}.",
            remedy="give probabilities: fates.div(fates.sum(axis=1), axis=0)",
        )
    return p


def _of_all(name: str, values: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != shape:
        raise DataError(
            f"`{name}` has the shape {array.shape}, and there are {shape[0]:,} cells.",
            remedy=f"give an array of shape {shape}, of the same cells.",
        )
    return array
