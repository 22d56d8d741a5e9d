"""Labels on several levels, from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi.errors import DataError, first_few


def check_nested(obs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Raise DataError where a label lies in more than one label of the next coarser level.

    Parameters
    ----------
    obs
        Columns of the cells.
    keys
        Columns with labels, from coarse to fine.
    """
    for coarse, fine in pairwise(keys):
        pairs = obs[[coarse, fine]].astype(str).drop_duplicates()
        torn = pairs[fine][pairs[fine].duplicated()].unique()
        if len(torn):
            over = pairs[coarse][pairs[fine] == torn[0]]
            raise DataError(
                f"labels_key: {len(torn):,} labels in obs[{fine!r}] lie in more than one label of "
                f"obs[{coarse!r}]: {first_few(torn)}. {torn[0]!r} lies in {first_few(over)}.",
                remedy="order the columns from coarse to fine, and give a fine label that lies in "
                "several coarse ones a name in each.",
            )


def coarser(
    probabilities: NDArray[np.floating], fine: pd.Categorical, coarse: pd.Categorical
) -> NDArray[np.float64]:
    r"""Sum the probabilities of the labels that lie in each coarser one.

    .. math::
        p_{c L} = \sum_{\ell \in L} p_{c \ell}

    Parameters
    ----------
    probabilities
        Of the fine labels, shape ``(n_cells, n_fine)``.
    fine, coarse
        Labels of the reference cells on both levels.

    Returns
    -------
    Shape ``(n_cells, n_coarse)``.
    """
    lies_in = np.zeros((len(fine.categories), len(coarse.categories)))
    lies_in[fine.codes, coarse.codes] = 1
    return probabilities @ lies_in


def finest_believed(
    labels: Sequence[pd.Categorical],
    confidences: Sequence[NDArray[np.floating]],
    min_confidence: float,
) -> NDArray[np.object_]:
    """Choose each cell's label on the finest level that reaches a confidence.

    Parameters
    ----------
    labels, confidences
        The most probable labels on each level, from coarse to fine, and their probabilities.
    min_confidence
        Least probability of a label; the coarsest level does not need it.

    Returns
    -------
    Shape ``(n_cells,)``.
    """
    called = np.asarray(labels[0], dtype=object)
    for label, confidence in zip(labels[1:], confidences[1:], strict=True):
        called = np.where(confidence >= min_confidence, np.asarray(label, dtype=object), called)
    return called
