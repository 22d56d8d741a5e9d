"""Labels by the votes of the nearest reference cells, over draws of the query's posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.inference import orthogonal_draws

N_NEIGHBOURS = 15
#: Least number of draws of a cell's posterior.
N_DRAWS = 8


def votes(
    neighbours: Neighbours,
    codes: NDArray[np.integer],
    n_labels: int,
    loc: NDArray[np.float32],
    scale: NDArray[np.float32],
    n_neighbours: int = N_NEIGHBOURS,
    n_draws: int = N_DRAWS,
    exclude: NDArray[np.integer] | None = None,
) -> NDArray[np.float64]:
    r"""Return the share of the votes that each label gets.

    .. math::
        v_{c \ell} = \frac{1}{S k} \sum_{s=1}^{S}
        \#\{j \in \mathrm{nearest}_k(m_c + \sigma_c \epsilon_s) : \text{label}_j = \ell\}

    The draws :math:`\epsilon_s` are fixed and shared by all cells, so that a cell's votes do not
    depend on the cells that are mapped with it.

    Parameters
    ----------
    neighbours
        Index of the reference cells.
    codes, n_labels
        Label of each reference cell as a number under ``n_labels``, shape ``(n_reference,)``.
    loc, scale
        Means and standard deviations of the query's posteriors, shape ``(n_cells, n_latent)``.
    n_neighbours
        Reference cells that vote on a draw, :math:`k`.
    n_draws
        Least number of draws :math:`S`, see :func:`lucidvi.inference.orthogonal_draws`.
    exclude
        Position of the reference cell that has no vote on each cell, which is the cell itself;
        shape ``(n_cells,)``.

    Returns
    -------
    Shape ``(n_cells, n_labels)``; each row sums to one.
    """
    draws = orthogonal_draws(n_draws, loc.shape[1]).numpy().astype(np.float32)
    counts = np.zeros((len(loc), n_labels))
    rows = np.arange(len(loc))[:, None]
    for draw in draws:
        nearest = codes[neighbours.find(loc + scale * draw, n_neighbours, exclude)]
        np.add.at(counts, (rows, nearest), 1)
    return counts / counts.sum(axis=1, keepdims=True)
