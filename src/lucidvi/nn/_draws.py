"""Fixed draws of a standard normal on which means of smooth functions hardly err."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import chi
from torch import Tensor


def orthogonal_draws(n_draws: int, n_latent: int, seed: int = 0) -> Tensor:
    r"""Draw from a standard normal, antithetic and orthogonal.

    The draws come in blocks :math:`\pm r_k Q_k e_i`, :math:`i = 1, \dots, d`, with random
    rotations :math:`Q_k` and as radii :math:`r_k` the quantiles of the norm of a standard normal,
    scaled to a mean square of :math:`d`. Their mean is 0 and their covariance :math:`I`, so that
    the mean of a polynomial of degree three is exact, as in the spherical-radial rule.

    Parameters
    ----------
    n_draws
        Least number of draws; it is rounded up to whole blocks of ``2 * n_latent``.
    n_latent
        Dimension :math:`d`.
    seed
        Of the rotations; equal seeds give equal draws.

    Returns
    -------
    Float64, shape ``(at least n_draws, n_latent)``.

    References
    ----------
    Genz and Monahan, SIAM Journal on Scientific Computing 19 (1998), Stochastic integration rules
    for infinite regions. Yu et al., NeurIPS (2016), Orthogonal random features.
    """
    n_blocks = max(1, math.ceil(n_draws / (2 * n_latent)))
    radii = chi.ppf((np.arange(n_blocks) + 0.5) / n_blocks, n_latent)
    radii *= math.sqrt(n_latent / np.mean(radii**2))
    rng = np.random.default_rng(seed)
    rotations = [np.linalg.qr(rng.normal(size=(n_latent, n_latent)))[0] for _ in radii]
    half = np.concatenate([r * rotation for r, rotation in zip(radii, rotations, strict=True)])
    return torch.from_numpy(np.concatenate([half, -half]))
