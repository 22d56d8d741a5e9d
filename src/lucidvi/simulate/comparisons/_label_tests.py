"""Tests for labels that are more frequent in one of two groups of cells: a function each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from lucidvi.simulate.comparisons._comparison import (
    COUNT_MIN,
    PSEUDO_COUNT,
    Comparison,
    Tested,
    adjusted,
    sample_sums,
)
from lucidvi.simulate.comparisons._moderated import moderated_t

#: Times that all labels are compared again with those that do not seem to differ, and the false
#: discovery rate up to which one does.
ROUNDS, DIFFERS = 2, 0.05
#: Fewest labels that are compared with, of those that do not seem to differ.
SAME_MIN = 2


def by_donors(comparison: Comparison) -> Tested:
    r"""Donors as replicates: a moderated t-test of log ratios of the numbers of cells.

    Shares add up to one, so that if one label rises all others fall. Numbers are therefore
    compared with those of labels that stay: at first each sample is scaled by the median of its
    ratios, then, if labels differ at a false discovery rate of 0.05, by the cells of all others.
    The variance of a log number is some :math:`\tau^2` of donors and about :math:`1 / \bar n` of
    counting, and is shrunk relative to that, as labels differ in their numbers by orders of
    magnitude.
    """
    sums = sample_sums(comparison.counts, comparison.sample, len(comparison.second))
    tested = sums.mean(axis=0) >= COUNT_MIN
    change, p = (np.full(len(tested), np.nan) for _ in range(2))
    if tested.sum() > SAME_MIN:
        log = np.log2(sums[:, tested] + PSEUDO_COUNT)
        size = np.median(log - log.mean(axis=0), axis=1)
        for _ in range(ROUNDS + 1):
            change[tested], p[tested] = _relative_t(
                log - size[:, None], sums[:, tested], comparison.design
            )
            same = tested & (adjusted(p) > DIFFERS)
            if same.sum() < SAME_MIN or same.sum() == tested.sum():
                break
            size = np.log2(sums[:, same].sum(axis=1) + PSEUDO_COUNT)
    return change, p


def over_cells(comparison: Comparison) -> Tested:
    """Cells as replicates, whoever they are from: Fisher's exact test of each label's share.

    Change is that of the log2 odds. Here for comparison, and for data that have no donors.
    """
    sums = sample_sums(comparison.counts, comparison.sample, len(comparison.second))
    of_group = np.array(
        [sums[~comparison.second].sum(axis=0), sums[comparison.second].sum(axis=0)]
    )
    others = of_group.sum(axis=1, keepdims=True) - of_group
    odds = np.log2((of_group + PSEUDO_COUNT) / (others + PSEUDO_COUNT))
    tested = of_group.mean(axis=0) >= COUNT_MIN
    change, p = (np.full(len(tested), np.nan) for _ in range(2))
    change[tested] = (odds[1] - odds[0])[tested]
    p[tested] = [
        fisher_exact(np.stack([of_group[:, i], others[:, i]])).pvalue
        for i in np.flatnonzero(tested)
    ]
    return change, p


def _relative_t(
    y: NDArray[np.float64], sums: NDArray[np.float64], design: NDArray[np.float64]
) -> Tested:
    """Moderated t-test of log2 numbers, in units of the standard deviation expected of each."""
    beta, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    variance = ((y - design @ beta) ** 2).sum(axis=0) / (len(design) - int(rank))
    counting = 1 / (np.log(2) ** 2 * np.maximum(sums.mean(axis=0), 1))
    sd = np.sqrt(counting + max(float(np.median(variance - counting)), 0.0))
    change, p = moderated_t(y / sd, design)
    return change * sd, p


#: The values of ``test``: log2 changes and p-values of a comparison whose counts are those of
#: labels, NaN where a label has too few cells to be tested.
LABEL_TESTS: dict[str, Callable[[Comparison], Tested]] = {
    "donors": by_donors,
    "cells": over_cells,
}
