"""Predictions of a condition against cells that were measured under it, and baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

Expression = NDArray[np.float32]

#: Genes that count as differentially expressed.
N_TOP = 100
#: Principal components of the energy distance.
N_COMPONENTS = 50
#: What each cell's counts are scaled to before the logarithm.
TARGET_SUM = 1e4


def log_expression(counts: sparse.spmatrix | NDArray) -> sparse.csr_matrix:
    r"""Return :math:`\log(1 + 10^4 x_{cg} / \sum_g x_{cg})`; a cell without counts is zero."""
    x = sparse.csr_matrix(counts, dtype=np.float32)
    total = np.maximum(np.ravel(x.sum(axis=1)), 1)
    return sparse.csr_matrix(sparse.diags(np.float32(TARGET_SUM / total)) @ x).log1p()


def energy_distance(first: NDArray, second: NDArray) -> float:
    r"""Energy distance of two samples, without bias, so that it can be negative.

    .. math:: 2 \, \mathrm{E} \lVert X - Y \rVert - \mathrm{E} \lVert X - X' \rVert
        - \mathrm{E} \lVert Y - Y' \rVert

    Parameters
    ----------
    first, second
        Shapes ``(n_first, n_dimensions)`` and ``(n_second, n_dimensions)``, two rows at least.

    References
    ----------
    Székely and Rizzo, J. Stat. Plan. Inference 143 (2013), Energy statistics.
    """
    within = [cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (first, second)]
    return float(2 * cdist(first, second).mean() - sum(within))


@dataclass(frozen=True, eq=False)
class Truth:
    """Cells of one label that were measured under both conditions.

    Parameters
    ----------
    control, target
        Their log expression, shapes ``(n_control, n_genes)`` and ``(n_target, n_genes)``.
    """

    control: Expression
    target: Expression

    @cached_property
    def statistic(self) -> NDArray[np.float64]:
        """Welch's t of each gene, target against control; 0 for a gene that does not vary."""
        moments = []
        for x in (self.target, self.control):
            moments += [x.mean(axis=0, dtype=float), x.std(axis=0, ddof=1, dtype=float), len(x)]
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = stats.ttest_ind_from_stats(*moments, equal_var=False).statistic
        return np.where(np.isfinite(statistic), statistic, 0.0)

    @cached_property
    def top(self) -> NDArray[np.integer]:
        """The differentially expressed genes, by :attr:`statistic`."""
        return _largest(self.statistic)

    @cached_property
    def components(self) -> PCA:
        """Principal components of both conditions' cells together."""
        both = np.concatenate([self.control, self.target])
        return PCA(min(N_COMPONENTS, min(both.shape) - 1), random_state=0).fit(both)

    def r2(self, predicted: Expression, genes: slice | NDArray = slice(None)) -> float:
        """Coefficient of determination of the genes' mean expression."""
        return float(r2_score(self.target.mean(axis=0)[genes], predicted.mean(axis=0)[genes]))

    def energy(self, predicted: Expression) -> float:
        """Energy distance of predicted from measured cells."""
        return energy_distance(*map(self.components.transform, (predicted, self.target)))

    def recovered(self, predicted: Expression) -> float:
        """Share of :attr:`top` among as many genes that are predicted to differ most, same sign.

        They are ranked by the difference of means, which is defined for every prediction: one
        that adds a constant to genes without counts has no error to divide by.
        """
        change = predicted.mean(axis=0) - self.control.mean(axis=0)
        both = np.intersect1d(self.top, _largest(change))
        return float((change[both] * self.statistic[both] > 0).sum() / len(self.top))


def _largest(values: NDArray) -> NDArray[np.integer]:
    return np.argsort(-np.abs(values), kind="stable")[:N_TOP]


#: Columns of the table.
SCORES: dict[str, Callable[[Truth, Expression], float]] = {
    "R2": Truth.r2,
    "R2 of top genes": lambda truth, predicted: truth.r2(predicted, truth.top),
    "energy distance": Truth.energy,
    "DE genes recovered": Truth.recovered,
}
