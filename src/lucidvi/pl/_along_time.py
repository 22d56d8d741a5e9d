"""Expression of genes along time: a mean with a band, and dots of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from lucidvi._positions import name_positions
from lucidvi.checks import check_share
from lucidvi.errors import DataError
from lucidvi.pl._axes import BLUE, GREY, axes_or_new, new_figure
from lucidvi.pl._dots import MOST_GROUPS, in_short

Array = NDArray[np.float64]
#: Inches of a panel, and of what is about them; panels in a row.
PANEL, ABOUT, N_COLUMNS = (2.3, 2.0), (0.6, 0.9), 4
#: Points of a line, cells that a point needs (as many as that count as much), and the share of
#: the cells of a group that are before and after its line.
N_POINTS, ENOUGH, FEW = 200, 5.0, 0.005
#: Standard errors that a band goes up and down.
BAND = 1.96
#: Dots of a panel.
MOST_DOTS = 2_000


class Smooth(NamedTuple):
    """A mean along time.

    Parameters
    ----------
    mean, se
        The mean and its standard error, shape ``(n_points,)``; NaN where there are too few cells.
    """

    mean: Array
    se: Array


def along_time(
    time: ArrayLike,
    expression: Any,
    genes: Sequence[str] | str,
    groups: ArrayLike | pd.DataFrame | None = None,
    *,
    bandwidth: float = 0.05,
) -> Figure:
    r"""Plot the expression of genes along time.

    The lines are local linear regressions: at each time :math:`t`, a straight line through the
    cells with the weights :math:`w_i \propto g_i \exp(-(t_i - t)^2 / 2 h^2)`. They are sums
    :math:`\sum_i l_i y_i`; the bands are 95 % intervals of a mean whose cells differ independently
    by what they do here, :math:`\pm 1.96 \, (\sum_i l_i^2 r_i^2)^{1/2}` with residuals :math:`r`.

    Parameters
    ----------
    time
        Time of each cell, such as that of :func:`lucidvi.dynamics.latent_time`, shape
        ``(n_cells,)``; cells with NaN are left out.
    expression
        Expression, on any scale: a DataFrame with columns of genes, or an array or a sparse matrix
        with a column for each of ``genes``.
    genes
        The genes to draw, a panel each.
    groups
        Label of the group of each cell (None for none), with a line for each; or, for weights
        :math:`g_i`, a table with a row a cell and a column a group, such as the probabilities of
        :func:`lucidvi.dynamics.fate_probabilities`. By default one line of all.
    bandwidth
        :math:`h`, as a share of the range of the times.

    Returns
    -------
    A new figure, which pyplot (and a notebook) shows.

    Raises
    ------
    lucidvi.errors.DataError
        If the arguments are not of the same cells, a value is not finite, or no time is known.
    lucidvi.errors.MissingKeyError
        If the expression has no such gene.

    References
    ----------
    Fan and Gijbels, Local Polynomial Modelling (1996), 3.2.
    """
    check_share("bandwidth", bandwidth, between=True)
    times = np.asarray(time, float)
    names = [genes] if isinstance(genes, str) else [str(gene) for gene in genes]
    values = _values(expression, names, times)
    weights = _weights(groups, len(times))
    known = np.isfinite(times)
    if len(np.unique(times[known])) < 2:
        raise DataError(
            f"`time` is known of {known.sum():,} of {len(known):,} cells, and is one in all.",
            remedy="give times that differ.",
        )
    times, values, weights = times[known], values[known], weights[known]
    at = np.linspace(times.min(), times.max(), N_POINTS)
    width = bandwidth * float(np.ptp(times))
    figure, panels = _panels(len(names))
    for ax, name, y in zip(panels, names, values.T, strict=True):
        lines = {g: smooth(times, y, weights[g].to_numpy(), at, width) for g in weights}
        _draw(ax, times, y, weights, at, lines)
        ax.set_title(in_short(name), fontsize="medium")
    for ax in panels[:: min(len(names), N_COLUMNS)]:
        ax.set_ylabel("Expression")
    if groups is not None:
        handles, labels = panels[0].get_legend_handles_labels()
        n_columns = min(len(labels), 1 + 2 * min(len(names), N_COLUMNS))
        figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=n_columns)
    return figure


def smooth(time: Array, y: Array, weight: Array, at: Array, width: float) -> Smooth:
    """Return a local linear regression, and its standard error.

    Parameters
    ----------
    time, y, weight
        Time, value and weight of each cell, shape ``(n_cells,)``.
    at
        Times that are asked for, shape ``(n_points,)``.
    width
        Standard deviation of the kernel, in units of the time.
    """
    cells = weight > 0
    time, y, weight = time[cells], y[cells], weight[cells]
    away = time - at[:, None]
    w = weight * np.exp(-0.5 * (away / width) ** 2)
    total, moment, inertia = w.sum(axis=1), (w * away).sum(axis=1), (w * away**2).sum(axis=1)
    n_effective = total**2 / np.maximum((w**2).sum(axis=1), 1e-300)
    spread = total * inertia - moment**2
    # Where the cells are of about one time, a slope cannot be told: their mean.
    level = spread < 1e-6 * (total * width) ** 2
    safe = np.where(level, np.maximum(total, 1e-300), spread)[:, None]
    share = np.where(level[:, None], w, w * (inertia[:, None] - moment[:, None] * away)) / safe
    mean = share @ y
    residual = y - np.interp(time, at, mean)
    se = np.sqrt(share**2 @ residual**2)
    there = (n_effective >= ENOUGH) & _within(time, weight, at)
    return Smooth(np.where(there, mean, np.nan), np.where(there, se, np.nan))


def _within(time: Array, weight: Array, at: Array) -> NDArray[np.bool_]:
    """Return where a group is: between all but few of its first and last cells."""
    order = np.argsort(time, kind="stable")
    if not len(order):
        return np.zeros(len(at), bool)
    share = np.cumsum(weight[order]) / weight.sum()
    first, last = time[order][np.searchsorted(share, (FEW, 1 - FEW))]
    return np.asarray((at >= first) & (at <= last))


def _draw(
    ax: Axes, time: Array, y: Array, weights: pd.DataFrame, at: Array, lines: dict[Any, Smooth]
) -> None:
    axes_or_new(ax)
    some = np.linspace(0, len(time) - 1, min(len(time), MOST_DOTS)).astype(int)
    shares = weights.to_numpy()[some]
    alone = len(lines) == 1
    colours = np.array([BLUE] if alone else [f"C{i}" for i in range(len(lines))])
    # Cells that may be of several groups have no colour.
    decided = shares.max(axis=1) > 0.5 * shares.sum(axis=1)
    of_dots = np.where(decided & (not alone), colours[shares.argmax(axis=1)], GREY)
    ax.scatter(time[some], y[some], c=of_dots, s=2, alpha=0.25, linewidths=0, rasterized=True)
    for colour, (group, line) in zip(colours, lines.items(), strict=True):
        low, high = line.mean - BAND * line.se, line.mean + BAND * line.se
        ax.fill_between(at, low, high, color=colour, alpha=0.25, lw=0)
        ax.plot(at, line.mean, color=colour, label=in_short(group))


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    n_columns = min(n, N_COLUMNS)
    n_rows = -(-n // n_columns)
    size = (ABOUT[0] + PANEL[0] * n_columns, ABOUT[1] + PANEL[1] * n_rows)
    figure = new_figure(size)
    grid = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
    for ax in grid[n:]:
        ax.set_axis_off()
    for ax in grid[n - n_columns : n]:  # those with no other below
        ax.tick_params(labelbottom=True)
        ax.set_xlabel("Time")
    return figure, list(grid[:n])


# -- arguments --------------------------------------------------------------------------------


def _values(expression: Any, names: list[str], times: Array) -> Array:
    """Return the expression of the genes, shape ``(n_cells, n_genes)``."""
    if isinstance(expression, pd.DataFrame):
        columns = expression.columns
        chosen = name_positions(names, columns, "genes", "columns of `expression`")
        values = expression.iloc[:, chosen].to_numpy(dtype=float)
    else:
        values = expression.toarray() if sparse.issparse(expression) else expression
        values = np.asarray(values, float)
        values = values[:, None] if values.ndim == 1 else values
    if times.ndim != 1 or values.shape != (len(times), len(names)):
        raise DataError(
            f"`expression` has the shape {values.shape}, and there are {times.size:,} times and "
            f"{len(names):,} genes.",
            remedy="give a DataFrame with names of genes, or a column for each of `genes`.",
        )
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        raise DataError(
            f"`expression` is not finite in {bad.sum():,} genes, {names[bad.argmax()]!r} first.",
            remedy="leave these genes, or these cells, out.",
        )
    return values


def _weights(groups: Any, n_cells: int) -> pd.DataFrame:
    """Return the weight of each cell in each group."""
    if groups is None:
        return pd.DataFrame({"all cells": np.ones(n_cells)})
    if isinstance(groups, pd.DataFrame):
        weights = groups.fillna(0.0).astype(float).reset_index(drop=True)
    else:
        labels = pd.Series(np.asarray(groups, object))
        found = sorted(labels.dropna().unique(), key=str)
        weights = pd.DataFrame({g: 1.0 * (labels == g) for g in found}, index=labels.index)
    if len(weights) != n_cells:
        raise DataError(
            f"`groups` has {len(weights):,} rows, and there are {n_cells:,} cells.",
            remedy="give the groups of the same cells.",
        )
    if not 0 < weights.shape[1] <= MOST_GROUPS or (weights < 0).any(axis=None):
        raise DataError(
            f"`groups` has {weights.shape[1]} groups, or weights below zero.",
            remedy=f"give 1 to {MOST_GROUPS} groups, which colours can tell apart.",
        )
    return weights
