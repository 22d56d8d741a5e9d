"""Which genes' counts are not distributed as predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lucidvi.pl._axes import (
    BLUE,
    GREY,
    LINES,
    VERMILION,
    axes_or_new,
    legend,
    plain_numbers,
    say,
    shortened,
)
from lucidvi.results import Fit

#: Genes that are named, those furthest off, and height of a line of text, as share of the axes'.
N_NAMED, LINE = 5, 0.075
#: Letters of a name; an Ensembl identifier has 15.
N_LETTERS = 15
#: Room above the highest point, as a factor.
ROOM = 1.1


def fit(finding: Fit, ax: Axes | None = None) -> Axes:
    """Plot how far each gene's counts are from their predicted distribution, by expression.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["fit"]``.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: Kolmogorov-Smirnov distance of each expressed gene's residuals from uniform against
    its mean count. Genes that count as misfit are marked, and the five furthest off named; a gene
    above the line counts as fitting if chance could give as much.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    shown = finding.genes[finding.genes["expressed"]]
    off, rest = shown[shown["misfit"]], shown[~shown["misfit"]]
    mean, distance = shown["mean_observed"], shown["ks"]
    for genes, style, label in (
        (rest, {"color": BLUE, "marker": "."}, "as predicted, or not surely off"),
        (off, {"color": VERMILION, "marker": "x"}, "not as predicted"),
    ):
        # As pixels: thousands of genes would make a large drawing.
        kwargs: dict[str, Any] = {
            "linestyle": "none",
            "markersize": 4,
            "rasterized": True,
            **style,
        }
        label = f"{label}: {count(genes)}"
        ax.plot(genes["mean_observed"].to_numpy(), genes["ks"].to_numpy(), label=label, **kwargs)
    colour, dashes = LINES["warn"]
    label = f"off from {finding.ks_min:g}, if surely so (q < 0.05)"
    ax.axhline(finding.ks_min, color=colour, linestyle=dashes, label=label)
    if mean.min() > 0:
        ax.set_xscale("log")
        plain_numbers(ax.xaxis, mean.min(), mean.max())
    ax.set_ylim(0, ROOM * max(distance.max(), finding.ks_min))
    _name(ax, off.iloc[np.argsort(-off["ks"].to_numpy())[:N_NAMED]])
    ax.set_xlabel("Mean count of the gene")
    ax.set_ylabel("Distance from prediction (KS)")
    ax.set_title(f"{finding.misfit_genes:.1%} of expressed genes do not fit")
    legend(ax)
    return ax


def count(genes: pd.DataFrame) -> str:
    """Return how many genes these are, in words."""
    return "1 gene" if len(genes) == 1 else f"{len(genes):,} genes"


def _name(ax: Axes, genes: pd.DataFrame) -> None:
    """Write the names beside the axes, from the top down, each on a line of its own."""
    line = LINE * ax.get_ylim()[1]
    height = np.inf
    for name, mean, distance in zip(genes.index, genes["mean_observed"], genes["ks"], strict=True):
        at = (mean, distance)
        height = min(distance, height - line)
        ax.annotate(
            shortened(str(name), N_LETTERS),
            xy=at,
            xytext=(1.03, height),
            textcoords=("axes fraction", "data"),
            va="center",
            parse_math=False,  # a name may hold dollar signs
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
        )
