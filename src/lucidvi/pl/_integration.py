"""Scores of an integration as a table with shades."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lucidvi.pl._axes import SIZE, new_figure, shortened
from lucidvi.results import Integration

#: Inches a row and a column; a column is as wide as its number needs.
ROW, COLUMN = 0.27, 0.85
#: Rows of empty space above the name of a group.
GAP = 0.4
#: Part of the colours that black letters are legible on.
LIGHT = 0.6
N_LETTERS = 12


def integration(result: Integration, ax: Axes | None = None) -> Axes:
    """Plot the scores: a row for each metric, a column for each embedding.

    Parameters
    ----------
    result
        Scores, of :func:`lucidvi.atlas.score_integration`.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: each score, darker for higher ones, the best of a row in bold; below, the means of
    the groups, the total, and the seconds that an embedding took where they are known.
    """
    table = result.scores
    places = _places(list(table.columns))
    n_rows = max(places.values()) + (0 if result.seconds.isna().all() else 1)
    if ax is None:
        size = (max(SIZE[0], 1.6 + COLUMN * len(table)), ROW * n_rows + 1.3)
        ax = new_figure(size).subplots()
    for (group, metric), row in places.items():
        if metric:
            _draw_row(ax, row, table[(group, metric)].to_numpy(dtype=float))
    ticks = {row: metric or group for (group, metric), row in places.items()}
    if not result.seconds.isna().all():
        ticks[n_rows] = "seconds"
        for column, value in enumerate(result.seconds):
            if not np.isnan(value):
                ax.text(column, n_rows, f"{value:,.1f}", ha="center", va="center")
    ax.set_yticks(list(ticks), list(ticks.values()))
    for label, (_, metric) in zip(ax.get_yticklabels(), [*places, ("", "seconds")], strict=False):
        label.set_fontweight("normal" if metric else "bold")
    ax.set_xticks(range(len(table)), [shortened(str(name), N_LETTERS) for name in table.index])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_xlim(-0.5, len(table) - 0.5)
    ax.set_ylim(n_rows + 0.5, min(places.values()) - 0.5)
    ax.spines[:].set_visible(False)
    of_batches = f", {result.n_batches} batches" if result.batch_key else ""
    ax.set_xlabel(f"{result.n_cells:,} cells, {result.n_labels} labels{of_batches}")
    ax.set_title("Integration (1: best)")
    return ax


def _places(columns: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Return the row of each metric, and of the name of each group, which has no metric."""
    places: dict[tuple[str, str], float] = {}
    row = 0.0
    for group, metric in columns:
        if (group, "") not in places:
            row += GAP if places else 0
            places[(group, "")] = row
            row += 1
        places[(group, metric)] = row
        row += 1
    return places


def _draw_row(ax: Axes, row: float, values: np.ndarray) -> None:
    """Draw one metric's scores."""
    best = np.nanmax(values)
    for column, value in enumerate(values):
        colour = colormaps["Blues"](LIGHT * float(np.nan_to_num(np.clip(value, 0, 1))))
        ax.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=colour, lw=0))
        weight = "bold" if round(value, 2) == round(best, 2) else "normal"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontweight=weight)
