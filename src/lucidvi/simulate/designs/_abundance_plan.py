"""One repeat of an experiment that is planned to compare the numbers of cells of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from lucidvi.simulate.comparisons._comparison import Comparison, adjusted
from lucidvi.simulate.comparisons._label_tests import LABEL_TESTS
from lucidvi.simulate.designs._design import Size
from lucidvi.simulate.designs._outcomes import judged


@dataclass(frozen=True, eq=False)
class AbundancePlan:
    """A comparison of the abundance of labels between two groups of donors, drawn and tested.

    Parameters
    ----------
    centre
        Donors' mean log abundance of the labels, natural logarithm, shape ``(n_labels,)``.
    log_effect
        Natural logarithm of the fold change.
    changeable
        Positions of the labels of which one changes, in turn; none if empty.
    spread
        Standard deviation of donors' log abundance, shape ``(n_labels,)``.
    called
        Probabilities of calling a cell of a label (rows) by each label, ``(n_labels, n_labels)``,
        for each depth factor.
    sizes
        Sizes of the experiment.
    test
        Name of the test in :data:`LABEL_TESTS`.
    fdr
        False discovery rate to keep.
    seed
        Seed of all repeats.
    """

    centre: NDArray[np.float64]
    log_effect: float
    changeable: NDArray[np.integer]
    spread: NDArray[np.float64]
    called: dict[float, NDArray[np.float64]]
    sizes: Sequence[Size]
    test: str
    fdr: float
    seed: int

    def __call__(self, repeat: int) -> list[tuple[float, float]]:
        """Return power and false share of the findings at each size.

        The largest experiment is drawn, and the others are its first cells and donors, the same
        cells at every depth.
        """
        rng = np.random.default_rng((self.seed, repeat))
        changed = self.changing(repeat)
        n_cells, n_donors, _ = (max(column) for column in zip(*self.sizes, strict=True))
        # Groups in turn, so that the first donors are as many of both.
        second = np.arange(2 * n_donors) % 2 == 1
        log = rng.normal(self.centre, self.spread, (2 * n_donors, len(self.centre)))
        log[np.ix_(second, changed)] += self.log_effect
        chance = rng.random((2, 2 * n_donors, n_cells))
        label = _drawn(softmax(log, axis=1)[:, None], chance[0])
        labels = {r: _drawn(rows[label], chance[1]) for r, rows in self.called.items()}
        return [
            judged(self._findings(labels[size.depth_factor], second, size), changed)
            for size in self.sizes
        ]

    def changing(self, repeat: int) -> NDArray[np.integer]:
        """Return the label that changes in a repeat, in an array that may be empty."""
        return np.roll(self.changeable, -repeat)[:1]

    def _findings(
        self, labels: NDArray[np.integer], second: NDArray[np.bool_], size: Size
    ) -> NDArray[np.integer]:
        """Positions of the labels that are called in the first cells of the first donors."""
        donors = np.arange(2 * size.n_donors)
        labels = labels[donors, : size.n_cells]
        numbers = np.stack([np.bincount(row, minlength=len(self.centre)) for row in labels])
        comparison = Comparison(numbers, donors, second[donors], donors)
        return np.flatnonzero(adjusted(LABEL_TESTS[self.test](comparison)[1]) <= self.fdr)


def _drawn(p: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.integer]:
    """Draw a position from the probabilities in the last dimension, by uniform numbers."""
    below = chance[..., None] >= p.cumsum(axis=-1)
    return np.minimum(below.sum(axis=-1), p.shape[-1] - 1)
