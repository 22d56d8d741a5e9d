"""Genes that differ between two groups of cells of real donors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.data import check_counts
from lucidvi.errors import DataError, MissingKeyError, check_choice, first_few
from lucidvi.simulate._checks import listed
from lucidvi.simulate._comparison import TESTS, Comparison, adjusted

#: Fewest replicates of a group.
REPLICATES_MIN = 2


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
    condition = column_of(adata, "condition_key", condition_key)
    first, second = _two(condition, condition_key, groups)
    if test == "pseudobulk" and donor_key is None:
        raise DataError(
            "`donor_key` is None, but `test='pseudobulk'` sums the cells of each donor.",
            remedy="name the column of the donors, or say `test='cells'`.",
        )
    donor = np.zeros(adata.n_obs, int) if donor_key is None else donors_of(adata, donor_key)
    side = np.where(condition == first, 0, np.where(condition == second, 1, -1))
    check_counts(adata, layer)
    counts = adata.X if layer is None else adata.layers[layer]
    compared = _samples(counts, side, donor)
    _check_replicates(compared, (first, second), test)
    if test == "cells":
        warnings.warn(
            "Cells are taken for replicates, so the false discovery rate holds only if cells of "
            "one donor are no more alike than those of others, which they are. Give `donor_key=` "
            "if there are donors.",
            stacklevel=2,
        )
    change, p = TESTS[test](compared)
    table = {"log2_fold_change": change, "p_value": p, "fdr": adjusted(p)}
    return pd.DataFrame(table, index=adata.var_names)


def column_of(adata: AnnData, argument: str, key: str) -> NDArray[Any]:
    """Return a column of ``obs`` as text, None where it is missing, or raise."""
    if key not in adata.obs:
        raise MissingKeyError(
            f"`{argument}` is {key!r}, which is no column of `obs`.",
            remedy=f"There are {listed(adata.obs.columns)}.",
        )
    column = adata.obs[key]
    text = np.array(column.astype(str), dtype=object)
    text[column.isna().to_numpy()] = None
    return text


def donors_of(adata: AnnData, key: str) -> NDArray[np.integer]:
    """Return the code of each cell's donor, or raise."""
    names = column_of(adata, "donor_key", key)
    missing = pd.isna(names)
    if missing.any():
        raise DataError(
            f'`donor_key`: adata.obs["{key}"] is missing in {missing.sum():,} cells.',
            remedy="drop these cells, or give them a donor.",
        )
    categories = getattr(adata.obs[key], "cat", None)
    empty = [] if categories is None else sorted(set(categories.categories.astype(str)) - {*names})
    if empty:
        raise DataError(
            f"`donor_key`: {len(empty)} donors have no cells: {first_few(empty)}.",
            remedy=f'adata.obs["{key}"] = adata.obs["{key}"].cat.remove_unused_categories()',
        )
    codes, donors = pd.factorize(names, sort=True)
    if len(donors) * 2 > len(names):
        raise DataError(
            f"`donor_key`: there are {len(names):,} cells of {len(donors):,} donors.",
            remedy="name a column of donors with several cells each, not one of cells.",
        )
    return np.asarray(codes)


def _two(condition: NDArray[Any], key: str, groups: Sequence[Any] | None) -> tuple[str, str]:
    there = sorted({value for value in condition if value is not None})
    asked = there if groups is None else [str(group) for group in groups]
    strange = [group for group in asked if group not in there]
    if len(asked) != 2 or strange or asked[0] == asked[1]:
        raise DataError(
            f'`groups` is {listed(asked)} of adata.obs["{key}"], which has {listed(there)}.',
            remedy="Give two of these: the one to compare with, and the other.",
        )
    return asked[0], asked[1]


def _samples(counts: Any, side: NDArray[np.integer], donor: NDArray[np.integer]) -> Comparison:
    """Make a sample of the cells that a donor has in a group."""
    code = np.where(side < 0, -1, 2 * donor + side)
    present, sample = np.unique(code, return_inverse=True)
    if present[0] < 0:
        present, sample = present[1:], sample - 1
    return Comparison(counts, sample, present % 2 == 1, present // 2)


def _check_replicates(compared: Comparison, groups: tuple[str, str], test: str) -> None:
    """Raise unless both groups have replicates."""
    per_sample = np.bincount(compared.sample[compared.sample >= 0])
    for i, group in enumerate(groups):
        of_group = compared.second == bool(i)
        n_cells, n_donors = int(per_sample[of_group].sum()), int(of_group.sum())
        n, what = {"pseudobulk": (n_donors, "donors"), "cells": (n_cells, "cells")}[test]
        if n < REPLICATES_MIN:
            raise DataError(
                f"Group {group!r} has {n} of the {what} that are its replicates.",
                remedy=f"Compare groups of at least {REPLICATES_MIN} {what}, of which differences "
                "within a group can be seen.",
            )
