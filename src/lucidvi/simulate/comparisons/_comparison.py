"""Tests for genes that differ between two groups of cells: a function each, in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control, ttest_ind_from_stats

from lucidvi.data import StoredCounts
from lucidvi.simulate.comparisons._moderated import moderated_t

#: Mean count of a gene in a sample (or, where cells are the replicates, in a group) below which it
#: is not tested: counts so low have no normal logarithms.
COUNT_MIN = 5.0
#: Added to the counts of a sample before the logarithm.
PSEUDO_COUNT = 0.5
#: Genes found in all samples that make size factors of ratios; of fewer the totals are taken.
RATIO_GENES = 20
#: Times that size factors are computed again without genes that seem to differ, and the p-value
#: below which one does.
ROUNDS, DIFFERS = 2, 0.1


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two groups of cells.

    Parameters
    ----------
    counts
        Shape ``(n_cells, n_genes)``: dense, sparse, or backed.
    sample
        Number of each cell's sample, ``(n_cells,)``: cells of one donor in one group; -1 for a
        cell of no group.
    second
        Whether each sample is in the second group, ``(n_samples,)``.
    donor
        Donor of each sample, ``(n_samples,)``; a donor may be in both groups.
    """

    counts: Any
    sample: NDArray[np.integer]
    second: NDArray[np.bool_]
    donor: NDArray[np.integer]

    @property
    def design(self) -> NDArray[np.float64]:
        """Columns for the donors if most are in both groups, else one for all; then the group."""
        _, codes, n_samples = np.unique(self.donor, return_inverse=True, return_counts=True)
        n_both = (n_samples == 2).sum()
        paired = n_both >= max(2, len(n_samples) / 2)
        columns = np.eye(len(n_samples))[codes] if paired else np.ones((len(codes), 1))
        return np.column_stack([columns, self.second])


def row_blocks(matrix: Any) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Yield some cells after the other, as CSR in double precision."""
    for rows, block in StoredCounts(matrix).blocks():
        yield rows, sparse.csr_matrix(block, dtype=np.float64)


def indicator(codes: NDArray[np.integer], n: int) -> sparse.csr_matrix:
    """Matrix of shape ``(n, n_cells)`` that sums the cells of each code; -1 is of none."""
    cells = np.flatnonzero(codes >= 0)
    return sparse.csr_matrix(
        (np.ones(len(cells)), (codes[cells], cells)), shape=(n, len(codes)), dtype=np.float64
    )


def sample_sums(counts: Any, sample: NDArray[np.integer], n: int) -> NDArray[np.float64]:
    """Sum the counts of the cells of each sample, shape ``(n, n_genes)``."""
    total = np.zeros((n, counts.shape[1]))
    for rows, block in row_blocks(counts):
        total += (indicator(sample[rows], n) @ block).toarray()
    return total


def log_rates(sums: NDArray[np.float64], same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log2 counts of samples as if all were of the same size, by the median of the ratios.

    Parameters
    ----------
    sums
        Counts, shape ``(n_samples, n_genes)``, each sample with some.
    same
        Genes that tell the size, shape ``(n_genes,)``; if too few are found everywhere, the totals
        of all do.
    """
    everywhere = (sums > 0).all(axis=0) & same
    if everywhere.sum() >= RATIO_GENES:
        logs = np.log(sums[:, everywhere])
        size = np.median(logs - logs.mean(axis=0), axis=1)
    else:
        size = np.log(sums.sum(axis=1))
    size = np.exp(size - size.mean())
    return np.log2(sums / size[:, None] + PSEUDO_COUNT)


Tested = tuple[NDArray[np.float64], NDArray[np.float64]]


def pseudobulk(comparison: Comparison) -> Tested:
    """Donors as replicates: a moderated t-test of the log counts that each has in sum.

    Within donors, where most are in both groups. Genes that differ to one side move the median
    of the ratios a little, and with it all others, so that those that seem to differ are left out
    of the size factors when all is done again (Kadota et al., Algorithms for Molecular Biology 7
    (2012), A normalization strategy for comparing tag count data).
    """
    sums = sample_sums(comparison.counts, comparison.sample, len(comparison.second))
    tested = sums.mean(axis=0) >= COUNT_MIN
    change, p = (np.full(len(tested), np.nan) for _ in range(2))
    if tested.any():
        sums, same = sums[:, tested], np.ones(tested.sum(), dtype=bool)
        for _ in range(ROUNDS + 1):
            y = log_rates(sums, same)
            change[tested], p[tested] = moderated_t(y, comparison.design)
            same = p[tested] >= DIFFERS
    return change, p


def over_cells(comparison: Comparison) -> Tested:
    """Cells as replicates, whoever they are from: Welch's t-test of log-normalised counts.

    What everybody does and what donors that vary make wrong; here for comparison, and for data
    that have no donors. Change is the difference of the mean log2 (1 + normalised count).
    """
    group = np.where(comparison.sample < 0, -1, comparison.second[comparison.sample])
    totals = np.concatenate(
        [np.asarray(block.sum(axis=1)).ravel() for _, block in row_blocks(comparison.counts)]
    )
    scale = np.median(totals[group >= 0]) / np.maximum(totals, 1)
    total, first, square = (np.zeros((2, comparison.counts.shape[1])) for _ in range(3))
    for rows, block in row_blocks(comparison.counts):
        of_group = indicator(group[rows], 2)
        total += (of_group @ block).toarray()
        block = (sparse.diags(scale[rows]) @ block).log1p()
        first += (of_group @ block).toarray()
        square += (of_group @ block.power(2)).toarray()
    n = np.bincount(group[group >= 0], minlength=2)[:, None]
    mean = first / n
    spread = np.sqrt(np.maximum(square - n * mean**2, 0) / (n - 1))
    tested = (total.mean(axis=0) >= COUNT_MIN) & (spread.sum(axis=0) > 0)
    change, p = (np.full(len(tested), np.nan) for _ in range(2))
    change[tested] = (mean[1] - mean[0])[tested] / np.log(2)
    p[tested] = ttest_ind_from_stats(
        *(part for i in (1, 0) for part in (mean[i][tested], spread[i][tested], n[i, 0])),
        equal_var=False,
    ).pvalue
    return change, p


#: The values of ``test``: log2 changes and p-values of a comparison, NaN where a gene has too few
#: counts to be tested.
TESTS: dict[str, Callable[[Comparison], Tested]] = {
    "pseudobulk": pseudobulk,
    "cells": over_cells,
}


def adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return false discovery rates after Benjamini and Hochberg, of the genes tested."""
    q = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
