"""What each modality tells of the numbers of the latent space."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lucidvi.pl._axes import BLUE, GREY, ORANGE, VERMILION, axes_or_new, legend, say, shortened
from lucidvi.results import Modalities

#: Colour and marker of each modality, in turn.
STYLES = ((BLUE, "o"), (VERMILION, "s"), (ORANGE, "^"), (GREY, "D"))
#: How far the points of one number of the state are spread.
SPREAD = 0.5
#: Letters of a modality's name that are shown.
N_LETTERS = 20


def modalities(finding: Modalities, ax: Axes | None = None) -> Axes:
    """Plot how much each modality tells of each number of the latent state.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["modalities"]``.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: for each number of the state, those that vary most between cells first, the share of
    its variance that each modality tells by itself, and the share that goes if it is left out.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    axes, names = finding.axes, list(finding.told.index)
    order = np.argsort(-axes["variance", "all"].to_numpy(), kind="stable")
    places = np.arange(1, len(order) + 1)
    offsets = np.linspace(-SPREAD, SPREAD, len(names) + 2)[1:-1]
    for number, (name, offset) in enumerate(zip(names, offsets, strict=True)):
        colour, marker = STYLES[number % len(STYLES)]
        alone, left_out = (axes[part, name].to_numpy()[order] for part in ("alone", "left_out"))
        place, label = places + offset, _short(name)
        ax.plot(place, alone, marker, color=colour, ms=5, label=f"told by {label} alone")
        ax.plot(place, left_out, "_", color=colour, ms=9, mew=2, label=f"lost without {label}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("Number of the latent state, by variance")
    ax.set_ylabel("Share of its variance\nbetween cells that is told")
    ax.set_title("What each modality tells")
    legend(ax)
    return ax


def _short(name: str) -> str:
    return shortened(name, N_LETTERS).replace("$", r"\$")
