"""Whether labels are right as often as they are said to be."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from lucidvi.pl._axes import BLUE, GREY, ORANGE, axes_or_new, legend
from lucidvi.results import Calibration

#: Room around the points, as share of the axes.
ROOM = 0.02


def reliability(
    calibration: Calibration, *, new_batch: bool = False, ax: Axes | None = None
) -> Axes:
    """Plot how often labels are right against how probable they were said to be.

    Parameters
    ----------
    calibration
        Calibration of a reference, ``reference.calibration``.
    new_batch
        Draw the calibration of cells that were labelled by cells of other batches only, as those
        of a new batch are.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: a point for each bin of equally many cells, of the shares of the votes and of the
    calibrated confidences. On the diagonal confidence and accuracy are the same.
    """
    ax = axes_or_new(ax)
    ax.axline((0, 0), slope=1, color=GREY, linestyle="--", label="as often as said")
    lowest = 1.0
    styles: tuple[tuple[bool, str, dict[str, Any]], ...] = (
        (True, "share of votes", {"color": ORANGE, "marker": "D", "mfc": "none"}),
        (False, "calibrated", {"color": BLUE, "marker": "o"}),
    )
    for raw, name, style in styles:
        table = calibration.reliability(new_batch=new_batch, raw=raw)
        error = calibration.expected_calibration_error(new_batch=new_batch, raw=raw)
        label = f"{name}: {error:.3f} off"
        ax.plot(table["confidence"], table["accuracy"], label=label, **style)
        lowest = min(lowest, float(table[["confidence", "accuracy"]].min(axis=None)))
    ax.set(xlim=(lowest - ROOM, 1 + ROOM), ylim=(lowest - ROOM, 1 + ROOM))
    ax.set_xlabel("Confidence")
    ax.set_ylabel("Share of labels that are right")
    ax.set_title(f"Labels of {calibration.n_cells:,} cells, {_whose(new_batch)}")
    legend(ax)
    return ax


def _whose(new_batch: bool) -> str:
    return "by other batches" if new_batch else "by the other cells"
