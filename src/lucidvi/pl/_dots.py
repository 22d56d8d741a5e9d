"""Cells as dots, with a colour for each group or number."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from lucidvi.pl._axes import GREY, legend, shortened

#: Groups that are told apart by colour, and letters of their names.
MOST_GROUPS, N_LETTERS = 10, 16
#: How a dot looks.
STYLE: dict[str, Any] = {"s": 6, "alpha": 0.5, "linewidths": 0, "rasterized": True}


def in_short(name: object) -> str:
    """Return a name as a label: on one line, short, and with its dollar signs."""
    return shortened(str(name), N_LETTERS).replace("$", r"\$")


def dots(ax: Axes, places: NDArray[np.float64], color: Any) -> None:
    """Draw the cells, with a legend of groups or a bar of numbers.

    Parameters
    ----------
    ax
        Where to draw.
    places
        Places of the cells, shape ``(n_cells, 2)``.
    color
        A number or the name of a group for each cell; None for grey.
    """
    if color is None:
        ax.scatter(*places.T, color=GREY, **STYLE)
        return
    values = np.asarray(color)
    if values.dtype.kind in "fiu":
        x, y = places.T
        drawn = ax.scatter(x, y, c=values, cmap="viridis", **STYLE)
        drawn_bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.6)
        drawn_bar.solids.set_alpha(1)  # type: ignore[union-attr]
        return
    names = values.astype(str)
    groups = list(dict.fromkeys(sorted(names)))
    for i, group in enumerate(groups):
        label = in_short(group) if len(groups) <= MOST_GROUPS else None
        ax.scatter(*places[names == group].T, color=to_hex(f"C{i}"), label=label, **STYLE)
    if len(groups) <= MOST_GROUPS:
        legend(ax)
