"""Which directions of the latent space move expression, and how much."""

from __future__ import annotations

import numpy as np
import torch

from lucidvi.inference._posterior import PosteriorTarget

#: Length of the steps by which the decoder is differentiated.
STEP = 0.25


def information_metric(target: PosteriorTarget, n_latent: int) -> np.ndarray:
    r"""Fisher information of the counts about the latent state, of each cell.

    .. math::
        M = J W J^\top, \quad J_{kg} = \frac{\partial \log \mu_g}{\partial z_k}, \quad
        W_{gg} = \frac{\mu_g^2}{\operatorname{Var} x_g}

    with :math:`W = \mu / (1 + \mu / \theta)` for a negative binomial. It measures how far the
    expected expression moves, in units of the counts' own noise, and is covariant: a rotation of
    the latent space rotates it.

    Parameters
    ----------
    target
        The cells; one draw of each posterior is looked at.
    n_latent
        Dimension of the latent state, without a latent library.

    Returns
    -------
    Shape ``(n_cells, n_latent, n_latent)``.
    """
    with torch.no_grad():
        z = target.q0.sample()
        root = target.likelihood(z).information.sqrt()
        slopes = []
        for k in range(n_latent):
            step = torch.zeros_like(z)
            step[:, k] = STEP
            rise = target.likelihood(z + step).log_mean - target.likelihood(z - step).log_mean
            slopes.append(rise / (2 * STEP) * root)
        stacked = torch.stack(slopes, dim=1)
        return (stacked @ stacked.mT).double().cpu().numpy()


def canonical(metric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, falling, and eigenvectors, as columns, of the mean of a metric."""
    values, vectors = np.linalg.eigh(metric.mean(axis=0))
    return values[::-1].clip(min=0), vectors[:, ::-1]
