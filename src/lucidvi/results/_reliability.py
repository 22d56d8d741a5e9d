"""Whether labels are right as often as they are said to be."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Bins of a reliability curve, at most, and cells in each, at least.
N_BINS, N_PER_BIN = 10, 20


def reliability(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], n_bins: int | None = None
) -> pd.DataFrame:
    """Compare how probable labels were said to be right with how often they were.

    Parameters
    ----------
    confidence
        Probability that the cell's label is right, shape ``(n_cells,)``.
    right
        Whether it is.
    n_bins
        Bins of equally many cells; by default ten, or as many as have 20 cells each.

    Returns
    -------
    A row a bin: mean ``confidence``, ``accuracy`` and ``n_cells``.
    """
    if n_bins is None:
        n_bins = int(np.clip(len(confidence) // N_PER_BIN, 1, N_BINS))
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, n_bins) if len(part)]
    return pd.DataFrame(
        {
            "confidence": [float(confidence[part].mean()) for part in bins],
            "accuracy": [float(right[part].mean()) for part in bins],
            "n_cells": [len(part) for part in bins],
        }
    )


def expected_calibration_error(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], n_bins: int | None = None
) -> float:
    r"""Return the mean distance of confidence and accuracy over the bins of :func:`reliability`.

    .. math::
        \mathrm{ECE} = \sum_b \frac{n_b}{n} \, |\mathrm{confidence}_b - \mathrm{accuracy}_b|

    Parameters
    ----------
    confidence, right, n_bins
        As in :func:`reliability`.

    References
    ----------
    Nixon et al., CVPR Workshops (2019), Measuring calibration in deep learning.
    """
    table = reliability(confidence, right, n_bins)
    gap = (table["confidence"] - table["accuracy"]).abs()
    return float((gap * table["n_cells"]).sum() / table["n_cells"].sum())
