"""How the expression of genes answers to a condition, learned on labels seen under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lucidvi.distributions import Likelihood

#: Counts that the response of all labels weighs in that of one, as if the labels' log ratios had a
#: standard deviation of sqrt(2 / 5) = 0.6 about it.
PSEUDO_COUNTS = 5.0


def shrunk_log_ratios(
    control: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
    r"""Log fold changes of each label's expression, drawn to that of all labels by few counts.

    Counts of a label are scaled to the smaller total of its two conditions, :math:`\tilde y`, and
    pseudo-counts are added that alone would give the response of all labels :math:`\beta_g`,

    .. math::
        \beta_{\ell g} = \log \frac{\tilde y_{\ell g}^\text{target} + a e^{\beta_g / 2}}
            {\tilde y_{\ell g}^\text{control} + a e^{-\beta_g / 2}}, \qquad
        \beta_g = \log \frac{\sum_\ell n_\ell \bar p_g^\text{target} + a}
            {\sum_\ell n_\ell \bar p_g^\text{control} + a}

    with :math:`n_\ell` that total and :math:`\bar p` the share of the gene in the counts, the mean
    over labels. Exchanging the conditions changes the sign.

    Parameters
    ----------
    control, target
        Sums of the counts of the labels' cells, ``(n_labels, n_genes)``.

    Returns
    -------
    Natural logarithms, ``(n_labels, n_genes)``; 0 for genes without a count.
    """
    totals = [
        np.asarray(sums, np.float64).sum(axis=1, keepdims=True) for sums in (control, target)
    ]
    n = np.minimum(*totals)
    before, after = (
        sums / np.maximum(total, 1) for sums, total in zip((control, target), totals, strict=True)
    )
    shared = np.log(n.sum() * after.mean(axis=0) + PSEUDO_COUNTS)
    shared -= np.log(n.sum() * before.mean(axis=0) + PSEUDO_COUNTS)
    grown = n * after + PSEUDO_COUNTS * np.exp(shared / 2)
    return np.log(grown / (n * before + PSEUDO_COUNTS * np.exp(-shared / 2)))


@dataclass(frozen=True)
class GeneShift:
    r"""A shift of the log means of genes, cell by cell.

    Parameters
    ----------
    weights
        Weights of the labels for each cell, shape ``(n_cells, n_labels)``.
    log_ratios
        See :func:`shrunk_log_ratios`.
    """

    weights: NDArray[np.floating]
    log_ratios: NDArray[np.floating]

    def apply(self, px: Likelihood, rows: slice) -> Likelihood:
        r"""Return a minibatch with shifted log means; the sum of a cell's means stays.

        .. math:: \log \mu'_{cg} = \log \mu_{cg} + \sum_\ell w_{c\ell} \beta_{\ell g} + k_c

        Parameters
        ----------
        px
            Likelihood of the cells, ``(n_cells, n_genes)``.
        rows
            Which cells these are.
        """
        shift = torch.as_tensor(self.weights[rows] @ self.log_ratios).to(px.log_mean)
        moved = px.scaled(shift)
        before, after = (p.log_mean.logsumexp(-1, keepdim=True) for p in (px, moved))
        return moved.scaled(before - after)
