"""Whether genes agree about where cells go."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from lucidvi.pl._axes import BLUE, VERMILION, axes_or_new, legend, say
from lucidvi.results import Direction

#: Agreement from which on genes are drawn at the edge, and bars.
FARTHEST, N_BARS = 8.0, 48


def direction(finding: Direction, ax: Axes | None = None) -> Axes:
    """Plot what each gene says of the direction that was learned from other genes.

    Parameters
    ----------
    finding
        Finding of :func:`lucidvi.audit.run`, ``report["direction"]``, or of
        :meth:`lucidvi.model.FLOWVI.get_direction`.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes: a histogram of the genes, and what it would be without a direction. Genes right of
    zero speak for the direction, those left of it for its reverse; beyond eight errors at the
    edge.
    """
    ax = axes_or_new(ax)
    if finding.verdict == "skipped":
        return say(ax, finding.title, finding.summary)
    agreement = finding.genes["agreement"].dropna().to_numpy()
    edges = np.linspace(-FARTHEST, FARTHEST, N_BARS + 1)
    share = np.histogram(np.clip(agreement, -FARTHEST, FARTHEST), edges)[0]
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    ax.bar(middles, share, width, color=BLUE, alpha=0.6, label="genes")
    expected = stats.norm.pdf(middles) * width * len(agreement)
    ax.plot(middles, expected, color=VERMILION, label="without a direction")
    ax.axvline(0, color="black", lw=0.8)
    ax.set_xlabel("Agreement with other genes (errors)")
    ax.set_ylabel("Genes")
    ax.set_title(f"{finding.agreeing:.0%} of genes for the direction")
    legend(ax)
    return ax
