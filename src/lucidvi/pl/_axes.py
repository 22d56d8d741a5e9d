"""What the plots share: figures that pyplot shows, colours, thresholds as lines."""

from __future__ import annotations

import sys
import textwrap
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

from lucidvi.results import Criterion, Finding

#: Colours that are told apart with any colour vision (Okabe and Ito, 2008), and by lightness.
BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#767676"
#: Colour and dashes of the thresholds; the dashes tell them apart in print.
LINES: dict[Literal["warn", "fail"], tuple[str, str]] = {
    "warn": (ORANGE, "--"),
    "fail": (VERMILION, ":"),
}
#: Inches of a figure that is made here: as wide as a phone shows with legible letters.
SIZE = (4.2, 3.6)
#: Letters in a line of a sentence that stands in for a plot.
N_LETTERS = 40
#: Factor that a logarithmic axis spans from which on powers of ten are enough as labels.
DECADES = 100


class ShownOnce(Figure):
    """A figure that a notebook shows once, also where it is the value of a cell's last line."""

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, "Figure", 1)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Leave pyplot, which would show the figure once more at the end of the cell."""
        if "inline" in matplotlib.get_backend().lower():
            sys.modules["matplotlib.pyplot"].close(self)
        return {}  # what it looks like is said by those who show figures


def new_figure(size: tuple[float, float]) -> Figure:
    """Return a new figure: pyplot's current one where pyplot is in use, as in a notebook.

    Parameters
    ----------
    size
        Width and height in inches.
    """
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:  # nobody would see it, and nobody would close it
        return Figure(figsize=size, layout="constrained")
    return pyplot.figure(FigureClass=ShownOnce, figsize=size, layout="constrained")


def detached_axes() -> Axes:
    """Return axes of a new figure that pyplot does not know of, for pages and files."""
    return Figure(figsize=SIZE, layout="constrained").subplots()


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the axes, or those of a new figure, see :func:`new_figure`."""
    if ax is None:
        ax = new_figure(SIZE).subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def legend(ax: Axes) -> None:
    """Add a legend: below axes that have a figure for themselves, else within them."""
    figure = ax.figure
    if figure.axes == [ax] and isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.legend(loc="outside lower left", frameon=False)
    else:
        ax.legend()


def plain_numbers(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis with plain numbers, more of them where it is short."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < DECADES * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def say(ax: Axes, title: str, reason: str) -> Axes:
    """Write why there is nothing to plot, in place of a plot."""
    ax.set_axis_off()
    ax.set_title(title)
    words = textwrap.fill(reason, N_LETTERS)
    ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes)
    return ax


def shortened(name: str, n_letters: int) -> str:
    """Return a name on one line, without its middle if it is long."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    half = n_letters // 2
    return name if len(name) <= n_letters else f"{name[:half]}…{name[-half:]}"


def criterion(finding: Finding, name: str) -> Criterion:
    """Return the criterion of a finding with this name."""
    return next(criterion for criterion in finding.criteria if criterion.name == name)
