"""Two groups of cells, of donors or not, named by columns of ``obs``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.checks import check_column, listed
from lucidvi.data import category_texts
from lucidvi.errors import DataError, first_few
from lucidvi.simulate.comparisons._label_tests import SAME_MIN

#: Fewest replicates of a group.
REPLICATES_MIN = 2
#: Fewest labels whose numbers can be compared: one, and those that it is compared with.
LABELS_MIN = SAME_MIN + 1
#: Sample of each cell (those of one donor in one group; -1 of none); group and donor of each.
Samples = tuple[NDArray[np.integer], NDArray[np.bool_], NDArray[np.integer]]


def samples_of(
    adata: AnnData,
    condition_key: str,
    groups: Sequence[Any] | None,
    donor_key: str | None,
    test: str,
) -> Samples:
    """Check two groups, and make a sample of the cells that a donor has in a group.

    Parameters
    ----------
    adata, condition_key, groups, donor_key
        See :func:`lucidvi.simulate.differential_expression`.
    test
        ``"cells"`` for cells as replicates, of which is warned; all others need donors.
    """
    condition = column_of(adata, "condition_key", condition_key)
    first, second = _two(condition, condition_key, groups)
    replicates = "cells" if test == "cells" else "donors"
    if replicates == "donors" and donor_key is None:
        raise DataError(
            f"`donor_key` is None, but `test={test!r}` compares donors.",
            remedy="name the column of the donors, or say `test='cells'`.",
        )
    donor = np.zeros(adata.n_obs, int) if donor_key is None else donors_of(adata, donor_key)
    side = np.where(condition == first, 0, np.where(condition == second, 1, -1))
    present, sample = np.unique(np.where(side < 0, -1, 2 * donor + side), return_inverse=True)
    if present[0] < 0:
        present, sample = present[1:], sample - 1
    samples = sample, present % 2 == 1, present // 2
    _check_replicates(samples, (first, second), replicates)
    if replicates == "cells":
        warnings.warn(
            "Cells are taken for replicates, so the false discovery rate holds only if cells of "
            "one donor are no more alike than those of others, which they are. Give `donor_key=` "
            "if there are donors.",
            stacklevel=3,
        )
    return samples


def column_of(adata: AnnData, argument: str, key: str) -> NDArray[Any]:
    """Return a column of ``obs`` as text, None where it is missing, or raise."""
    check_column(adata.obs, argument, key)
    return category_texts(adata.obs[key])


def donors_of(adata: AnnData, key: str) -> NDArray[np.integer]:
    """Return the code of each cell's donor, or raise."""
    names = _complete_column(adata, "donor_key", key, "donor")
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


def label_codes(adata: AnnData, key: str) -> tuple[NDArray[np.integer], NDArray[Any]]:
    """Return the code of each cell's label and the labels, or raise."""
    names = _complete_column(adata, "labels_key", key, "label")
    codes, labels = pd.factorize(names, sort=True)
    if len(labels) < LABELS_MIN:
        raise DataError(
            f'`labels_key`: adata.obs["{key}"] has {len(labels)} labels.',
            remedy=f"Name a column of at least {LABELS_MIN}: of two shares that add up to one, "
            "nothing can tell which has changed.",
        )
    return np.asarray(codes), np.asarray(labels)


def _complete_column(adata: AnnData, argument: str, key: str, what: str) -> NDArray[Any]:
    """Return a column of ``obs`` as text, or raise if it does not exist or a cell has no value."""
    names = column_of(adata, argument, key)
    missing = pd.isna(names)
    if missing.any():
        raise DataError(
            f'`{argument}`: adata.obs["{key}"] is missing in {missing.sum():,} cells.',
            remedy=f"drop these cells, or give them a {what}.",
        )
    return names


def _two(condition: NDArray[Any], key: str, groups: Sequence[Any] | None) -> tuple[str, str]:
    there = sorted({value for value in condition if value is not None})
    names = there if groups is None else [str(group) for group in groups]
    strange = [group for group in names if group not in there]
    if len(names) != 2 or strange or names[0] == names[1]:
        raise DataError(
            f'`groups` is {listed(names)} of adata.obs["{key}"], which has {listed(there)}.',
            remedy="Give two of these: the one to compare with, and the other.",
        )
    return names[0], names[1]


def _check_replicates(samples: Samples, groups: tuple[str, str], replicates: str) -> None:
    """Raise unless both groups have replicates."""
    sample, second, _ = samples
    per_sample = np.bincount(sample[sample >= 0])
    for i, group in enumerate(groups):
        of_group = second == bool(i)
        n = int(per_sample[of_group].sum() if replicates == "cells" else of_group.sum())
        if n < REPLICATES_MIN:
            raise DataError(
                f"Group {group!r} has {n} of the {replicates} that are its replicates.",
                remedy=f"Compare groups of at least {REPLICATES_MIN} {replicates}, of which "
                "differences within a group can be seen.",
            )
