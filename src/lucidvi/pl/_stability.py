"""What trainings with other seeds agree about, pair by pair."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from lucidvi.pl._axes import BLUE, GREY, LINES, axes_or_new, criterion, legend, say
from lucidvi.results import Stability

#: Measures, from the top, and their names on the axis.
ROWS = {
    "neighbours": "neighbours",
    "clusters": "clusters (ARI)",
    "subspace": "subspace (CCA)",
    "raw_axes": "raw axes (MCC)",
    "canonical_axes": "canonical (MCC)",
    "fold_changes": "fold changes",
    "top_genes": "top genes",
}


def stability(finding: Stability, ax: Axes | None = None) -> Axes:
    """Plot how far each pair of trainings agrees, beside chance and the thresholds of the mean.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.stability`.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: a row for each measure, with a point for each pair of trainings, 1 for full
    agreement. What cannot be compared has no row.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    values = {name: getattr(finding, name) for name in ROWS}
    rows = [name for name in ROWS if not np.isnan(values[name]).any()]
    if not rows:
        return say(ax, finding.title, finding.summary)
    points = np.concatenate([values[name] for name in rows])
    places = np.repeat(np.arange(len(rows)), len(finding.pairs))
    chance = [finding.chance[name] for name in rows]
    ax.plot(points, places, "o", color=BLUE, alpha=0.6, label="pair of trainings", zorder=3)
    ax.plot(chance, range(len(rows)), "|", color=GREY, ms=16, mew=2, label="by chance")
    judged = [name for name in rows if name != "raw_axes"]
    for level, (colour, dashes) in LINES.items():
        levels = [(getattr(criterion(finding, name), level), name) for name in judged]
        lines = [(value, name) for value, name in levels if value is not None]
        for i, (value, name) in enumerate(lines):
            place = finding.chance[name] + value * (1 - finding.chance[name])
            ends = [rows.index(name) - 0.4, rows.index(name) + 0.4]
            label = None if i else f"{level}, of the mean"  # one entry of the legend for all
            ax.plot([place] * 2, ends, dashes, color=colour, lw=2, label=label)
    ax.set_yticks(range(len(rows)), [ROWS[name] for name in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(min(-0.05, *points) - 0.02, 1.05)
    ax.set_xlabel("Agreement (1: full)")
    ax.set_title(f"What {len(finding.runs)} trainings agree about")
    legend(ax)
    return ax
