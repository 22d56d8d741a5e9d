"""What counts say beyond the latent state: residuals that a cell shares with others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from lucidvi.atlas.labels._votes import N_NEIGHBOURS
from lucidvi.inference import PosteriorTarget

#: Residuals are cut off here, so that one count cannot decide.
LARGEST = 5.0


def pearson_residuals(target: PosteriorTarget, z: torch.Tensor) -> NDArray[np.float32]:
    r"""Return :math:`(x - \mathrm{E}[x \mid z]) / \mathrm{sd}[x \mid z]`, cut off at 5.

    Parameters
    ----------
    target
        The cells.
    z
        All that is latent, shape ``(n_cells, n_latent)``.

    Returns
    -------
    Of the measured genes, shape ``(n_cells, n_measured)``.
    """
    with torch.no_grad():
        px = target.measured_likelihood(z)
        x = target.x if target.x.layout == torch.strided else target.x.to_dense()
        residuals = (x - px.mean) / px.variance.sqrt()
    return residuals.clamp(-LARGEST, LARGEST).float().cpu().numpy()


def agreement(residuals: NDArray[np.floating], loc: NDArray[np.floating]) -> NDArray[np.float32]:
    r"""Say how far each cell's residuals point where those of the cells around it do.

    .. math::
        a_c = \frac{r_c \cdot m_c}{\lVert m_c \rVert}, \quad
        m_c = \frac{1}{k} \sum_{j \in \mathrm{nearest}_k(c)} r_j

    Where the model fits, residuals have variance one and nothing in common, and :math:`a` is about
    standard normal, whatever the others are like: a cell is no part of its own :math:`m_c`. Cells
    of a type that the model does not know have the same genes too high and too low, also where
    their latent states are among those of a known type.

    Parameters
    ----------
    residuals
        Shape ``(n_cells, n_genes)``.
    loc
        Latent means, shape ``(n_cells, n_latent)``; the :math:`k = 15` nearest are of the same
        cells.

    Returns
    -------
    Shape ``(n_cells,)``; NaN for a cell that is alone.
    """
    n_cells = len(loc)
    if n_cells < 2:
        return np.full(n_cells, np.nan, np.float32)
    index = NearestNeighbors(n_neighbors=min(N_NEIGHBOURS, n_cells - 1)).fit(loc)
    nearest = index.kneighbors(return_distance=False)
    common = np.zeros_like(residuals)
    for each in nearest.T:
        common += residuals[each]
    length = np.maximum(np.linalg.norm(common, axis=1), np.finfo(np.float32).tiny)
    return np.einsum("cg,cg->c", residuals, common) / length
