"""Shape of the tail of importance weights: how many of their moments exist."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Least number of weights of which a tail can be told.
N_TAIL = 25
#: Least number of draws for each coefficient of a regression.
N_PER_COEFFICIENT = 5


def pareto_k_hat(log_weights: Tensor) -> Tensor:
    """Shape of the generalized Pareto distribution of the largest weights, by PSIS.

    Parameters
    ----------
    log_weights
        Shape ``(n_weights, n_cells)``.

    Returns
    -------
    Shape ``(n_cells,)``; minus infinity for cells whose weights are all the same to rounding,
    NaN with fewer than 25 weights.

    References
    ----------
    Vehtari et al., JMLR 25 (2024), Pareto smoothed importance sampling.
    """
    from arviz_stats.base import array_stats  # slow to import

    weights = log_weights.detach().cpu().double().numpy().T
    k_hat = np.full(len(weights), np.nan)
    if weights.shape[1] < N_TAIL:
        return torch.from_numpy(k_hat)
    tail = np.sort(weights, axis=1)[:, -max(5, weights.shape[1] // 10) :]
    precision = torch.finfo(log_weights.dtype).eps
    # Of a cell of which nothing was measured they are all about zero.
    constant = np.ptp(tail, axis=1) <= 16 * precision * np.abs(tail[:, -1]).clip(min=1)
    k_hat[constant] = -np.inf
    if not constant.all():
        # It takes log likelihoods that were left out, whose weights are their reciprocals.
        k_hat[~constant] = array_stats.psislw(-weights[~constant], axis=-1)[1]
    return torch.from_numpy(k_hat)


def normal_k(log_weights: Tensor, draws: Tensor) -> Tensor:
    r"""Shape of the tail as a normal proposal and a normal posterior would have it.

    With :math:`\log w \approx a + b^\top \epsilon + \epsilon^\top C \epsilon` for draws
    :math:`\epsilon` of a standard normal the moment :math:`\mathrm{E}\, w^r` exists for
    :math:`r < 1 / (2 \lambda_\max(C))`, so that :math:`k = 2 \lambda_\max(C)`. It tells a
    proposal that is too narrow, of which the largest of the weights drawn show nothing, since
    none of them comes from where the weights are large.

    Parameters
    ----------
    log_weights
        Shape ``(n_weights, n_cells)``.
    draws
        The draws that they belong to, brought to a standard normal, shape
        ``(n_weights, n_cells, n_latent)``.

    Returns
    -------
    Float64, shape ``(n_cells,)``. With fewer than five draws a coefficient :math:`C` is taken to
    be diagonal, and with too few for that the result is NaN.
    """
    n, n_cells, d = draws.shape
    draws = draws.double().transpose(0, 1)
    if n < N_PER_COEFFICIENT * (1 + 2 * d):
        return draws.new_full((n_cells,), torch.nan)
    row, column = torch.tril_indices(d, d, device=draws.device)
    if n < N_PER_COEFFICIENT * (1 + d + len(row)):
        row = column = torch.arange(d, device=draws.device)
    squares = draws[..., row] * draws[..., column]
    design = torch.cat([torch.ones_like(draws[..., :1]), draws, squares], dim=-1)
    right = design.mT @ log_weights.double().T.unsqueeze(-1)
    coefficients = torch.linalg.solve(design.mT @ design, right).squeeze(-1)[:, 1 + d :]
    matrix = draws.new_zeros(n_cells, d, d)
    matrix[:, row, column] = coefficients
    return torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[:, -1] * 2
