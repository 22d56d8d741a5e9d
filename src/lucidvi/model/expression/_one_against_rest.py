"""Several groups of cells, each compared with all other cells, from the same draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lucidvi.model.expression._comparison import RunningMean, by_probability, greater
from lucidvi.model.expression._pairs import Side


def one_against_rest(
    pools: Sequence[Side], n_cells: Sequence[int], n_groups: int
) -> Iterator[dict[str, Any]]:
    r"""Compare each of the first groups with the cells of all the others.

    A draw of the rest of group :math:`g` is one of group :math:`h \ne g` with probability
    :math:`N_h / \sum_{k \ne g} N_k`, since that is how a cell of the rest is drawn. So the draws
    of the groups, which each comparison needs anyway, serve as those of the rest, too: some of
    all groups are decoded at a time, and each of them is used at most once a comparison. For one
    comparison they are independent, as in scvi-tools; different comparisons share them.

    Parameters
    ----------
    pools
        Draws of each group, as many of each, of the same batches.
    n_cells
        Cells of each group.
    n_groups
        How many of the groups, from the first on, are compared.

    Yields
    ------
    Columns of the table, group by group, see :func:`compare`.
    """
    sizes = np.array(n_cells, dtype=float)
    higher = [RunningMean() for _ in range(n_groups)]
    scales = [(RunningMean(), RunningMean()) for _ in range(n_groups)]
    for decoded in _blocks(pools):
        n = len(decoded[0])
        for group in range(n_groups):
            weights = np.where(np.arange(len(sizes)) == group, 0.0, sizes)
            counts = np.random.multinomial(n, weights / weights.sum())  # noqa: NPY002
            scales[group][0].add(decoded[group])
            start = 0
            for other in counts.nonzero()[0]:
                own = decoded[group][start : start + counts[other]]
                rest = decoded[other][: counts[other]]
                higher[group].add(greater(own, rest))
                scales[group][1].add(rest)
                start += counts[other]
    for group in range(n_groups):
        means = (scale.value() for scale in scales[group])
        yield by_probability(higher[group].value(), *means)


def _blocks(pools: Sequence[Side]) -> Iterator[list[Tensor]]:
    """Yield normalized expression of some draws of every pool, batch by batch."""
    for batch, rows in pools[0].rows.items():
        for block in pools[0].states.blocks(0, len(rows)):
            yield [pool.decode(batch, pool.rows[batch][block]) for pool in pools]
