"""Where states move, as streams on an embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from lucidvi.errors import DataError
from lucidvi.pl._axes import axes_or_new
from lucidvi.pl._dots import dots

#: Neighbours by which an embedding is straight near a cell, and the share of their spread at which
#: directions that they do not span are left out.
N_NEIGHBOURS, RIDGE = 30, 1e-3
#: Points of the grid on each side, the reach of a cell in them, and the weight from which on a
#: point has cells: that of one which is right there.
GRID, REACH, ENOUGH = 40, 1.0, 1.0
#: Share of the range that the grid goes beyond the cells.
MARGIN = 0.05


def stream(
    z: ArrayLike,
    velocity: ArrayLike,
    embedding: ArrayLike | None = None,
    color: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Plot where states move, on an embedding.

    Near each cell the embedding :math:`e` is taken for a linear function of the states, found from
    its neighbours; :math:`\dot e = (\partial e / \partial z) \, \dot z`. Nothing depends on how
    the states are rotated.

    Parameters
    ----------
    z
        States, shape ``(n_cells, n_latent)``.
    velocity
        How fast they move, of the same shape; cells of which it is not known (NaN) have a dot and
        no stream.
    embedding
        Places of the cells, shape ``(n_cells, 2)``; by default the states, if they have two
        dimensions.
    color
        A number or the name of a group for each cell.
    ax
        Where to draw; by default in a new figure, which pyplot (and a notebook) shows.

    Returns
    -------
    The axes.

    Raises
    ------
    lucidvi.errors.DataError
        If the arrays are not of the same cells, or no velocity is known.
    """
    states, moved = np.asarray(z, float), np.asarray(velocity, float)
    places = states if embedding is None else np.asarray(embedding, float)
    _check(states, moved, places, embedding is not None)
    known = np.isfinite(moved).all(axis=1)
    arrows = np.full(places.shape, np.nan)
    arrows[known] = projected(states[known], moved[known], places[known])
    ax = axes_or_new(ax)
    dots(ax, places, color)
    x, y, u = on_grid(places[known], arrows[known])
    ax.streamplot(x, y, u[..., 0], u[..., 1], color="black", linewidth=0.8, density=1.2)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_title("Where cells go")
    return ax


def projected(
    z: NDArray[np.float64], velocity: NDArray[np.float64], places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how fast the places of cells on an embedding move.

    Parameters
    ----------
    z, velocity
        States and how fast they move, shape ``(n_cells, n_latent)``.
    places
        Where they are on the embedding, shape ``(n_cells, 2)``.
    """
    if places.shape == z.shape and np.array_equal(places, z):
        return velocity
    n_near = min(N_NEIGHBOURS, len(z) - 1)
    near = NearestNeighbors(n_neighbors=n_near).fit(z).kneighbors(return_distance=False)
    away, apart = z[near] - z[:, None], places[near] - places[:, None]
    gram = np.einsum("nki,nkj->nij", away, away)
    ridge = RIDGE * np.trace(gram, axis1=1, axis2=2) / z.shape[1]
    gram += (ridge + 1e-300)[:, None, None] * np.eye(z.shape[1])
    slope = np.linalg.solve(gram, np.einsum("nki,nkj->nij", away, apart))
    return np.einsum("ni,nij->nj", velocity, slope)


def on_grid(
    places: NDArray[np.float64], arrows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Average arrows around the points of a grid; NaN where there are no cells.

    Parameters
    ----------
    places, arrows
        Shape ``(n_cells, 2)``.

    Returns
    -------
    Coordinates of the columns and of the rows, shape ``(n,)``, and arrows,
    shape ``(n, n, 2)``.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1.0) * (1 + 2 * MARGIN)
    low = low - MARGIN / (1 + 2 * MARGIN) * span
    x, y = (np.linspace(low[i], low[i] + span[i], GRID) for i in (0, 1))
    cell = (places - low) / span * (GRID - 1)
    columns, rows = (
        np.exp(-0.5 * ((np.arange(GRID)[:, None] - cell[:, i]) / REACH) ** 2) for i in (0, 1)
    )
    total = rows @ columns.T
    mean = np.stack([(rows * arrows[:, i]) @ columns.T for i in (0, 1)], axis=-1)
    there = (total >= ENOUGH)[..., None]
    return x, y, np.where(there, mean / np.maximum(total, 1e-300)[..., None], np.nan)


def _check(
    z: NDArray[Any], velocity: NDArray[Any], places: NDArray[Any], is_embedded: bool
) -> None:
    if z.ndim != 2 or velocity.shape != z.shape:
        raise DataError(
            f"`z` has the shape {z.shape}, and `velocity` {velocity.shape}.",
            remedy="give the states of cells, and how fast they move, of the same shape.",
        )
    if places.shape != (len(z), 2):
        name = "embedding" if is_embedded else "z"
        raise DataError(
            f"`{name}` has the shape {places.shape}, and places on a page have two dimensions.",
            remedy='embedding=adata.obsm["X_umap"], of the same cells.',
        )
    if not np.isfinite(z).all() or not np.isfinite(places).all():
        raise DataError("States or places are not finite.", remedy="leave these cells out.")
    if np.isfinite(velocity).all(axis=1).sum() < 2:
        raise DataError(
            "No velocity is known, so that there is nothing to draw.",
            remedy="give those of two cells at least.",
        )
