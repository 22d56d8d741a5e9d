"""Which latent directions are told apart by the expression that they move."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lucidvi.pl._axes import BLUE, GREY, VERMILION, axes_or_new, legend, plain_numbers, say
from lucidvi.results import Identifiability


def identifiability(finding: Identifiability, ax: Axes | None = None) -> Axes:
    """Plot the expression that each direction moves, and which directions are distinct.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["identifiability"]``.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes, with a logarithmic scale of Fisher information. Directions that are not in use are
    grey.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    order = np.arange(1, len(finding.eigenvalues) + 1)
    moved = finding.eigenvalues
    in_use = order <= finding.n_axes
    groups: tuple[tuple[np.ndarray, dict[str, Any], str], ...] = (
        (in_use & finding.distinct, {"color": BLUE, "marker": "o"}, "distinct"),
        (
            in_use & ~finding.distinct,
            {"color": VERMILION, "marker": "s", "mfc": "white"},
            "not distinct: could be mixed",
        ),
        (~in_use, {"color": GREY, "marker": "x"}, "not in use"),
    )
    ax.plot(order, moved, color=GREY, linewidth=1, zorder=1)
    for group, style, label in groups:
        if group.any():
            ax.plot(order[group], moved[group], linestyle="none", label=label, **style)
    if moved.min() > 0:
        ax.set_yscale("log")
        plain_numbers(ax.yaxis, moved.min(), moved.max())
    else:
        ax.set_ylim(0, max(1.0, 1.1 * moved.max()))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("Canonical direction")
    ax.set_ylabel("Expression moved\n(Fisher information)")
    title = f"{finding.distinct_axes} of {finding.n_axes} directions in use are distinct"
    ax.set_title(title if finding.n_axes else "No direction is in use")
    legend(ax)
    return ax
