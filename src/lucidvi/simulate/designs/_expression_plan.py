"""One repeat of a planned experiment, at every size of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.simulate.comparisons._comparison import TESTS, Comparison, adjusted
from lucidvi.simulate.designs._population import Population


@dataclass(frozen=True, eq=False)
class Plan:
    """What is planned.

    Parameters
    ----------
    population
        The cells to draw from.
    log_effect
        Natural logarithm of the fold change.
    share
        Of the genes in ``changeable`` that change.
    changeable
        Positions of genes.
    spread
        Standard deviation of donors' log expression, shape ``(n_genes,)``.
    grid
        Cells a donor, donors a group and relative depth, row by row.
    test
        Name in :data:`TESTS`.
    rate
        False discovery rate to keep.
    seed
        Of all repeats.
    """

    population: Population
    log_effect: float
    share: float
    changeable: NDArray[np.integer]
    spread: NDArray[np.float64]
    grid: tuple[tuple[int, int, float], ...]
    test: str
    rate: float
    seed: int

    def __call__(self, repeat: int) -> list[tuple[float, float]]:
        """Return power and false share of the findings at each row of the grid.

        The largest experiment is drawn, and the others are its first cells and donors. Counts of
        less depth are thinned ones, which of all likelihoods of counts have just the distribution
        that they have at that depth: so rows of the grid differ by less chance than they would.
        """
        rng = np.random.default_rng((self.seed, repeat))
        changed = rng.choice(
            self.changeable, round(self.share * len(self.changeable)), replace=False
        )
        n_cells, n_donors, depth = (max(column) for column in zip(*self.grid, strict=True))
        # Groups in turn, so that the first donors are as many of both.
        second = np.arange(2 * n_donors) % 2 == 1
        log_factor = rng.normal(
            -(self.spread**2) / 2, self.spread, (2 * n_donors, len(self.spread))
        )
        log_factor[np.ix_(second, changed)] += self.log_effect
        cells = rng.integers(len(self.population), size=(2 * n_donors, n_cells))
        counts = self.population.draw(cells, log_factor + np.log(depth), int(rng.integers(2**31)))
        return [
            self._judged(
                _part(counts, second, cells_here, 2 * donors_here, depth_here / depth, rng),
                changed,
            )
            for cells_here, donors_here, depth_here in self.grid
        ]

    def _judged(self, compared: Comparison, changed: NDArray[np.integer]) -> tuple[float, float]:
        found = np.flatnonzero(adjusted(TESTS[self.test](compared)[1]) <= self.rate)
        right = np.isin(found, changed).sum()
        power = right / len(changed) if len(changed) else np.nan
        return float(power), float((len(found) - right) / max(len(found), 1))


def _part(
    counts: sparse.csr_matrix,
    second: NDArray[np.bool_],
    n_cells: int,
    n_donors: int,
    kept: float,
    rng: np.random.Generator,
) -> Comparison:
    """Take the first cells of the first donors, at less depth."""
    most = counts.shape[0] // len(second)
    donor, place = np.divmod(np.arange(counts.shape[0]), most)
    rows = np.flatnonzero((donor < n_donors) & (place < n_cells))
    part = counts[rows]
    if kept < 1:
        part.data = rng.binomial(part.data.astype(np.int64), kept).astype(float)
    donors = np.arange(n_donors)
    return Comparison(part, donor[rows], second[:n_donors], donors)
