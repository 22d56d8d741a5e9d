"""From votes to probabilities that can be believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

#: Share of the votes that is spread over all labels, and power of the shares, before any data;
#: and how far the data may easily move their logarithms (standard deviations of a normal prior).
SMOOTHING, POWER = 0.05, 1.0
PRIOR_SD = (1.5, 0.5)
#: Parts of the cells of which each is judged by what the others say.
N_FOLDS = 5
SEED = 0


def probabilities(
    votes: NDArray[np.floating], smoothing: float, power: float
) -> NDArray[np.float64]:
    r"""Turn shares of votes into probabilities of the labels.

    .. math::
        p_{c \ell} \propto \left(v_{c \ell} + \frac{a}{L}\right)^{\beta}

    Parameters
    ----------
    votes
        Shares :math:`v`, shape ``(n_cells, n_labels)``.
    smoothing, power
        :math:`a` and :math:`\beta`, the inverse of a temperature.

    Returns
    -------
    Linear, of the same shape; each row sums to one.
    """
    return _normalized(power * np.log(votes + smoothing / votes.shape[1]))


def _normalized(log_p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return probabilities of which the logs are known up to a constant a row."""
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def fit(votes: NDArray[np.floating], codes: NDArray[np.integer]) -> tuple[float, float]:
    """Find the smoothing and the power under which the labels are the most probable.

    Two numbers with a weak normal prior on their logarithms, so that a few cells suffice.

    Parameters
    ----------
    votes
        Shares of the votes on cells whose label is known, shape ``(n_cells, n_labels)``.
    codes
        Their labels as numbers, shape ``(n_cells,)``.
    """
    cells = np.arange(len(votes))
    start = np.log([SMOOTHING, POWER])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        smoothing, power = np.exp(parameters)
        added = smoothing / votes.shape[1]
        log_votes = np.log(votes + added)
        p = _normalized(power * log_votes)
        change = (parameters - start) / PRIOR_SD
        # How the log of each number that is normalized moves with either parameter.
        moves = power * (added / (votes + added)), power * log_votes
        slopes = [(p * move).sum() - move[cells, codes].sum() for move in moves]
        value = 0.5 * (change**2).sum() - np.log(p[cells, codes]).sum()
        return float(value), change / PRIOR_SD + slopes

    optimum = minimize(loss, start, method="BFGS", jac=True)
    smoothing, power = np.exp(optimum.x)
    return float(smoothing), float(power)


def cross_fitted(votes: NDArray[np.floating], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return probabilities of cells, each by what :func:`fit` made of other cells.

    Parameters
    ----------
    votes, codes
        As in :func:`fit`.
    """
    fold = np.random.default_rng(SEED).permutation(len(votes)) % N_FOLDS
    p = np.empty_like(votes, dtype=np.float64)
    for i in np.unique(fold):
        p[fold == i] = probabilities(votes[fold == i], *fit(votes[fold != i], codes[fold != i]))
    return p
