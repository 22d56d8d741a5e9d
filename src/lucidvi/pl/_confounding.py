"""What neighbours tell of batch and sequencing depth, against permutations."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from lucidvi.pl._axes import BLUE, GREY, LINES, axes_or_new, criterion, legend, say
from lucidvi.results import Confounding

#: Criteria, from the top, and their names on the axis.
ROWS = {
    "batch": "batch,\nby neighbours",
    "library": "depth,\nby neighbours",
    "library_share": "depth, share of\nlatent space",
}


def confounding(finding: Confounding, ax: Axes | None = None) -> Axes:
    """Plot how well batch and depth are told from the latent space, with their thresholds.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["confounding"]``.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: shares of the way from chance (0) to certainty (1), of the cells and of each
    permutation, and the share of the latent space's variance that depth explains. What was not
    checked, such as the only batch, has no row.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    values = {
        "batch": finding.batch_excess,
        "library": finding.library_excess,
        "library_share": finding.library_latent_share,
    }
    rows = [name for name in ROWS if criterion(finding, name).verdict != "skipped"]
    shown = [values[name] for name in rows]
    ax.plot(shown, range(len(rows)), "D", color=BLUE, label="this model", zorder=3)
    places, permuted = _permuted(finding, rows)
    ax.plot(permuted, places, "|", color=GREY, ms=12, label="permuted cells")
    for level, (colour, dashes) in LINES.items():
        levels = [(getattr(criterion(finding, name), level), row) for row, name in enumerate(rows)]
        lines = [(value, row) for value, row in levels if value is not None]
        for i, (value, row) in enumerate(lines):
            ends = [row - 0.4, row + 0.4]
            label = None if i else level  # one entry of the legend for all
            ax.plot([value] * 2, ends, dashes, color=colour, lw=2, label=label)
    ax.set_yticks(range(len(rows)), [ROWS[name] for name in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(min(-0.05, *shown, *permuted) - 0.02, 1.03)
    ax.set_xlabel("Share (0: chance or none, 1: all)")
    ax.set_title("Batch and depth in the latent space")
    legend(ax)
    return ax


def _permuted(finding: Confounding, rows: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return row and share of the way from chance to certainty, of each permutation."""
    drawn = {
        "batch": (finding.batch_null, finding.batch_chance),
        "library": (finding.library_null, finding.library_chance),
    }
    scores = [(rows.index(name), *drawn[name]) for name in rows if name in drawn]
    scores = [(row, null, chance) for row, null, chance in scores if chance < 1]
    places = [np.full(len(null), row) for row, null, _ in scores]
    shares = [(null - chance) / (1 - chance) for _, null, chance in scores]
    return np.concatenate([[], *places]), np.concatenate([[], *shares])
