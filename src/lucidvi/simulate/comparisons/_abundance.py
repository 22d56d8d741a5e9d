"""Labels, such as cell types, of which two groups of donors have different shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi._kinds import checked
from lucidvi.checks import check_choice
from lucidvi.simulate.comparisons._comparison import Comparison, adjusted, indicator
from lucidvi.simulate.comparisons._groups import label_codes, samples_of
from lucidvi.simulate.comparisons._label_tests import LABEL_TESTS


@checked
def differential_abundance(
    adata: AnnData,
    condition_key: str,
    groups: Sequence[Any] | None = None,
    *,
    labels_key: str,
    donor_key: str | None = None,
    test: str | None = None,
) -> pd.DataFrame:
    """Test every label for a difference in its number of cells between two groups.

    With donors these are the replicates (``"donors"``): a moderated t-test compares the logarithms
    of how many cells each has, within donors where most are in both groups, relative to the
    labels that do not seem to change. What rises in one label is therefore not taken for a fall of
    all others, as long as most labels stay. Of three or four labels, nothing can tell whether one
    rises or the others fall.

    Parameters
    ----------
    adata
        Cells of all labels, as they were sampled; may be backed. Counts are not looked at.
    condition_key
        Column of ``obs`` that tells the groups.
    groups
        Two of its values: the one to compare with, and the other. By default its only two, in
        their order.
    labels_key
        Column of ``obs`` with the labels, at least three.
    donor_key
        Column of ``obs`` with the donors.
    test
        ``"donors"`` (with donors, the default) or ``"cells"``, Fisher's exact test of each label's
        share with cells as replicates, whatever the other labels do.

    Returns
    -------
    For each label, in their order: ``n_cells``, its number in both groups; ``log2_fold_change`` of
    the second group over the first (with ``"cells"`` of the odds); ``p_value``; and ``fdr`` after
    Benjamini and Hochberg. Labels with fewer than five cells in a mean sample are not tested and
    have NaN, and so has the rest if fewer than three are left.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If a column does not exist.
    lucidvi.errors.DataError
        If cells have no label, there are fewer than three labels, the groups are not two with
        cells, a group has fewer than two donors, a donor is missing or has no cells, or there are
        fewer cells than donors.

    Warns
    -----
    UserWarning
        If cells are taken for replicates.
    """
    test = test or ("cells" if donor_key is None else "donors")
    check_choice("test", test, LABEL_TESTS)
    codes, labels = label_codes(adata, labels_key)
    samples = samples_of(adata, condition_key, groups, donor_key, test)
    counts = indicator(codes, len(labels)).T.tocsr()
    change, p = LABEL_TESTS[test](Comparison(counts, *samples))
    n_cells = np.bincount(codes[samples[0] >= 0], minlength=len(labels))
    table = {"n_cells": n_cells, "log2_fold_change": change, "p_value": p, "fdr": adjusted(p)}
    return pd.DataFrame(table, index=pd.Index(labels, name=labels_key))
