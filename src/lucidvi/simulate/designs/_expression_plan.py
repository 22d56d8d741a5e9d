"""One repeat of a planned experiment, at every size of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.simulate.comparisons._comparison import TESTS, Comparison, adjusted
from lucidvi.simulate.designs._design import Size
from lucidvi.simulate.designs._outcomes import judged
from lucidvi.simulate.designs._population import Population


@dataclass(frozen=True, eq=False)
class ExpressionPlan:
    """Differential expression between two groups of donors, drawn and tested.

    Parameters
    ----------
    population
        The cells to draw from.
    log_effect
        Natural logarithm of the fold change.
    share
        Share of the genes in ``changeable`` that change.
    changeable
        Positions of the genes that may change.
    spread
        Standard deviation of donors' log expression, shape ``(n_genes,)``.
    sizes
        Sizes of the experiment.
    test
        Name of the test in :data:`TESTS`.
    fdr
        False discovery rate to keep.
    seed
        Seed of all repeats.
    """

    population: Population
    log_effect: float
    share: float
    changeable: NDArray[np.integer]
    spread: NDArray[np.float64]
    sizes: Sequence[Size]
    test: str
    fdr: float
    seed: int

    def __call__(self, repeat: int) -> list[tuple[float, float]]:
        """Return power and false share of the findings at each size.

        The largest experiment is drawn, and the others are its first cells and donors. Counts of
        less depth are thinned ones, which of all likelihoods of counts have just the distribution
        that they have at that depth: so sizes differ by less chance than they would.
        """
        rng = np.random.default_rng((self.seed, repeat))
        changed = rng.choice(
            self.changeable, round(self.share * len(self.changeable)), replace=False
        )
        n_cells, n_donors, deepest = (max(column) for column in zip(*self.sizes, strict=True))
        # Groups in turn, so that the first donors are as many of both.
        second = np.arange(2 * n_donors) % 2 == 1
        log_factor = rng.normal(
            -(self.spread**2) / 2, self.spread, (2 * n_donors, len(self.spread))
        )
        log_factor[np.ix_(second, changed)] += self.log_effect
        cells = rng.integers(len(self.population), size=(2 * n_donors, n_cells))
        counts = self.population.draw(
            cells, log_factor + np.log(deepest), int(rng.integers(2**31))
        )
        return [
            judged(self._findings(_part(counts, second, size, deepest, rng)), changed)
            for size in self.sizes
        ]

    def _findings(self, comparison: Comparison) -> NDArray[np.integer]:
        """Positions of the genes that are called."""
        return np.flatnonzero(adjusted(TESTS[self.test](comparison)[1]) <= self.fdr)


def _part(
    counts: sparse.csr_matrix,
    second: NDArray[np.bool_],
    size: Size,
    deepest: float,
    rng: np.random.Generator,
) -> Comparison:
    """Take the first cells of the first donors, at less depth."""
    n_donors, kept = 2 * size.n_donors, size.depth_factor / deepest
    most = counts.shape[0] // len(second)
    donor, place = np.divmod(np.arange(counts.shape[0]), most)
    rows = np.flatnonzero((donor < n_donors) & (place < size.n_cells))
    part = counts[rows]
    if kept < 1:
        part.data = rng.binomial(part.data.astype(np.int64), kept).astype(float)
    donors = np.arange(n_donors)
    return Comparison(part, donor[rows], second[:n_donors], donors)
