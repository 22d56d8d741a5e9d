"""Power of a planned experiment by its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lucidvi.pl._axes import GREY, axes_or_new, new_figure

if TYPE_CHECKING:
    from lucidvi.results import DesignResult

#: Power that is usually asked for.
USUAL = 0.8
#: Inches of a panel, and of the legend beside the last.
PANEL, BESIDE = (2.9, 3.2), 1.4
#: Part of the colour map that is dark enough on white.
COLOURS = (0.0, 0.85)
MARKERS = "osD^vP*X"
#: Standard errors that a bar goes up and down.
BAR = 1.96


def design(result: DesignResult) -> Figure:
    """Plot the power of a planned experiment against its size.

    Parameters
    ----------
    result
        What :func:`lucidvi.simulate.design_expression` or
        :func:`lucidvi.simulate.design_abundance` returned.

    Returns
    -------
    A new figure, which pyplot (and a notebook) shows, with a panel for each depth: power against
    the cells of a donor, a line for each number of donors, with 95 % intervals of the simulation;
    below its title the range of the false discovery rates.
    """
    table = result.table
    depths, donors = np.unique(table["depth_factor"]), np.unique(table["n_donors"])
    colours = colormaps["viridis"](np.linspace(*COLOURS, len(donors)))
    size = (PANEL[0] * len(depths) + BESIDE, PANEL[1])
    figure = new_figure(size)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    for ax, depth in zip(panels, depths, strict=True):
        at_depth = table[table["depth_factor"] == depth]
        axes_or_new(ax)
        ax.axhline(USUAL, color=GREY, linestyle="--", lw=1)
        for i, n in enumerate(donors):
            line = at_depth[at_depth["n_donors"] == n].sort_values("n_cells")
            ax.errorbar(
                line["n_cells"],
                line["power"],
                yerr=BAR * line["power_se"],
                color=colours[i],
                marker=MARKERS[i % len(MARKERS)],
                capsize=2,
                label=f"{n}",
            )
        _describe(ax, depth, at_depth["fdr"].min(), at_depth["fdr"].max())
        ax.set_xticks(np.unique(table["n_cells"]))
    panels[0].set_ylabel(f"Power at FDR {result.request['fdr']:.0%}")
    handles, labels = panels[0].get_legend_handles_labels()
    # As the lines lie, the highest first.
    figure.legend(
        handles[::-1],
        labels[::-1],
        title="Donors\na group",
        loc="outside right center",
        frameon=False,
    )
    fold = 2.0 ** abs(result.request["effect"])
    way = "up" if result.request["effect"] > 0 else "down"
    figure.suptitle(f"{result.changing} {way} {fold:.3g}-fold")
    return figure


def _describe(ax: Axes, depth: float, least: float, most: float) -> None:
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlim(left=0)
    ax.set_xlabel("Cells of a donor")
    of_data = "depth of the data" if depth == 1 else f"{depth:g} times the depth"
    false = f"{least:.1%}" if f"{least:.1%}" == f"{most:.1%}" else f"{least:.1%} to {most:.1%}"
    ax.set_title(f"{of_data}\nrealised FDR {false}", fontsize="medium")
