"""One repeat of an experiment that is planned to compare the numbers of cells of labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from lucidvi.simulate.comparisons._comparison import Comparison, adjusted
from lucidvi.simulate.comparisons._label_tests import LABEL_TESTS


@dataclass(frozen=True, eq=False)
class AbundancePlan:
    """What is planned.

    Parameters
    ----------
    centre
        Donors' mean log abundance of the labels, natural logarithm, shape ``(n_labels,)``.
    log_effect
        Natural logarithm of the fold change.
    changeable
        Positions of labels of which one changes, in turn; none if empty.
    spread
        Standard deviation of donors' log abundance, shape ``(n_labels,)``.
    called
        Of each depth the probabilities of calling a cell of a label (rows) by each label,
        ``(n_labels, n_labels)``.
    grid
        Cells a donor, donors a group and relative depth, row by row.
    test
        Name in :data:`LABEL_TESTS`.
    rate
        False discovery rate to keep.
    seed
        Of all repeats.
    """

    centre: NDArray[np.float64]
    log_effect: float
    changeable: NDArray[np.integer]
    spread: NDArray[np.float64]
    called: dict[float, NDArray[np.float64]]
    grid: tuple[tuple[int, int, float], ...]
    test: str
    rate: float
    seed: int

    def __call__(self, repeat: int) -> list[tuple[float, float]]:
        """Return power and false share of the findings at each row of the grid.

        The largest experiment is drawn, and the others are its first cells and donors, the same
        cells at every depth.
        """
        rng = np.random.default_rng((self.seed, repeat))
        changed = self.changing(repeat)
        n_cells, n_donors, _ = (max(column) for column in zip(*self.grid, strict=True))
        # Groups in turn, so that the first donors are as many of both.
        second = np.arange(2 * n_donors) % 2 == 1
        log = rng.normal(self.centre, self.spread, (2 * n_donors, len(self.centre)))
        log[np.ix_(second, changed)] += self.log_effect
        chance = rng.random((2, 2 * n_donors, n_cells))
        label = _drawn(softmax(log, axis=1)[:, None], chance[0])
        found = {depth: _drawn(rows[label], chance[1]) for depth, rows in self.called.items()}
        return [
            self._judged(found[depth][: 2 * donors, :cells], second[: 2 * donors], changed)
            for cells, donors, depth in self.grid
        ]

    def changing(self, repeat: int) -> NDArray[np.integer]:
        """Return the label that changes in a repeat, in an array that may be empty."""
        return np.roll(self.changeable, -repeat)[:1]

    def _judged(
        self,
        labels: NDArray[np.integer],
        second: NDArray[np.bool_],
        changed: NDArray[np.integer],
    ) -> tuple[float, float]:
        donors = np.arange(len(labels))
        numbers = np.stack([np.bincount(row, minlength=len(self.centre)) for row in labels])
        compared = Comparison(numbers, donors, second, donors)
        found = np.flatnonzero(adjusted(LABEL_TESTS[self.test](compared)[1]) <= self.rate)
        right = np.isin(found, changed).sum()
        power = right / len(changed) if len(changed) else np.nan
        return float(power), float((len(found) - right) / max(len(found), 1))


def _drawn(p: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.integer]:
    """Draw a position from the probabilities in the last dimension, by uniform numbers."""
    below = chance[..., None] >= p.cumsum(axis=-1)
    return np.minimum(below.sum(axis=-1), p.shape[-1] - 1)
