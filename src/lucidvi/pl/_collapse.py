"""What each direction of the latent space is worth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lucidvi.pl._axes import BLUE, ORANGE, axes_or_new, legend, say
from lucidvi.results import Collapse

#: Room above the highest point, as a factor.
ROOM = 1.6


def collapse(finding: Collapse, ax: Axes | None = None) -> Axes:
    """Plot the nats that each latent direction is worth, and from where on it counts.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["collapse"]``.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes. Nats are on a scale that is linear up to 1 and logarithmic above.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    order = np.arange(1, finding.n_latent + 1)
    ax.errorbar(order, finding.worth, finding.worth_error, fmt="none", ecolor=BLUE)
    ax.plot(order, finding.worth, "o", color=BLUE, label="worth for itself")
    label = "worth beyond the directions before"
    ax.plot(order, finding.worth_beyond, "D", color=ORANGE, mfc="none", ms=8, label=label)
    for levels, colour, dashes in lines(finding):
        ax.axhline(levels, color=colour, linestyle=dashes, label=f"counts from {levels:.2g} nats")
    ax.set_yscale("symlog", linthresh=1)
    low = float(min((finding.worth - finding.worth_error).min(), finding.worth_beyond.min()))
    high = float(max((finding.worth + finding.worth_error).max(), finding.worth_beyond.max(), 1))
    ax.set_ylim(min(0.0, ROOM * low) - 0.1, ROOM * high)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("Latent direction, by expression moved")
    ax.set_ylabel("Worth (nats a cell)")
    ax.set_title(f"{finding.used_units} of {finding.n_latent} directions in use")
    legend(ax)
    return ax


def lines(finding: Collapse) -> list[tuple[float, str, str]]:
    """Return level, colour and dashes of the thresholds: one line where both are the same."""
    worth, beyond = finding.least_worth, finding.least_worth_beyond
    if np.isclose(worth, beyond, rtol=0.05):
        return [(worth, "black", "--")]
    return [(worth, BLUE, "--"), (beyond, ORANGE, ":")]
