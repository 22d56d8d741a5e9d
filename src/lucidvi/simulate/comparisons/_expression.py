"""Genes that differ between two groups of cells of real donors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from anndata import AnnData

from lucidvi._kinds import checked
from lucidvi.checks import check_choice
from lucidvi.data import Reader, check_counts
from lucidvi.simulate.comparisons._comparison import TESTS, Comparison, adjusted
from lucidvi.simulate.comparisons._groups import samples_of


@checked
def differential_expression(
    adata: AnnData,
    condition_key: str,
    groups: Sequence[Any] | None = None,
    *,
    donor_key: str | None = None,
    layer: str | None = None,
    test: str | None = None,
) -> pd.DataFrame:
    """Test every gene for a difference between two groups of cells.

    With donors these are the replicates: counts are summed over the cells of each
    (``"pseudobulk"``), and log sums are compared by a moderated t-test; within donors, where most
    are in both groups. Cells of one donor are more alike than those of different donors, so
    that cells as replicates find differences where there are none. Cells are read some at a time,
    and no dense matrix of them is made.

    Parameters
    ----------
    adata
        Cells, best those of one type, with counts; may be backed.
    condition_key
        Column of ``obs`` that tells the groups.
    groups
        Two of its values: the one to compare with, and the other. By default its only two, in
        their order.
    donor_key
        Column of ``obs`` with the donors.
    layer
        Where the counts are; by default ``X``.
    test
        ``"pseudobulk"`` (with donors, the default) or ``"cells"``, Welch's t-test of
        log-normalised counts with cells as replicates.

    Returns
    -------
    For each gene, in the order of ``adata``: ``log2_fold_change`` of the second group over the
    first, ``p_value``, and ``fdr`` after Benjamini and Hochberg. Genes with fewer than five counts
    in a mean sample are not tested and have NaN.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If a column or the layer does not exist.
    lucidvi.errors.DataError
        If the values are no counts, the groups are not two with cells, a group has fewer than two
        donors, a donor is missing or has no cells, or there are fewer cells than donors.

    Warns
    -----
    UserWarning
        If cells are taken for replicates.
    """
    test = test or ("cells" if donor_key is None else "pseudobulk")
    check_choice("test", test, TESTS)
    samples = samples_of(adata, condition_key, groups, donor_key, test)
    check_counts(adata, layer, reader=Reader(layer=layer, is_bound=True))
    counts = adata.X if layer is None else adata.layers[layer]
    change, p = TESTS[test](Comparison(counts, *samples))
    table = {"log2_fold_change": change, "p_value": p, "fdr": adjusted(p)}
    return pd.DataFrame(table, index=adata.var_names)
