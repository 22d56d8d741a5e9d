"""How far off the encoder is, for all cells and for each group of them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from lucidvi.pl._axes import BLUE, LINES, axes_or_new, criterion, legend, say, shortened
from lucidvi.results import Amortization

#: Most groups that are shown, those that are encoded worst, and letters of a name.
N_GROUPS, N_LETTERS = 12, 22
#: Room beside the largest error, as a factor.
ROOM = 1.1
TITLE = "Error of the encoder"


def amortization(finding: Amortization, ax: Axes | None = None) -> Axes:
    """Plot the encoder's error, for all cells and for the batches and labels encoded worst.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["amortization"]``.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: errors in standard deviations of the posterior (1 is what the encoder itself
    allows for), at most twelve groups. What the counts do not determine is left out.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    rule = criterion(finding, "error")
    if rule.verdict == "skipped":
        return say(ax, TITLE, rule.statement)
    finite = [group for group in finding.groups if np.isfinite(group.error_in_sd)]
    groups = sorted(finite, key=lambda group: -group.error_in_sd)[:N_GROUPS]
    names = ["all cells", *(f"{g.by} {g.group} ({g.n_cells})" for g in groups)]
    errors = [finding.error_in_sd, *(group.error_in_sd for group in groups)]
    ax.plot(errors, range(len(names)), "o", color=BLUE)
    colour, dashes = LINES["warn"]
    label = "warn: the encoder states half of the uncertainty"
    ax.axvline(rule.warn or np.nan, color=colour, linestyle=dashes, label=label)
    legend(ax)
    ax.set_yticks(
        range(len(names)), [shortened(name, N_LETTERS) for name in names], parse_math=False
    )
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, ROOM * max([rule.warn or 0.0, *errors]))
    ax.grid(axis="y", alpha=0.3)
    ax.set_xlabel("Error (standard deviations)")
    ax.set_ylabel("Group (number of cells)")
    ax.set_title(TITLE)
    return ax
