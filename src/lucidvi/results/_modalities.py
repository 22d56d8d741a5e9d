"""What several modalities tell of the latent space: what the check of it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lucidvi.results._finding import Finding


@dataclass(frozen=True, kw_only=True)
class Modalities(Finding):
    """What each modality tells of the latent space, and whether they tell the same.

    Parameters
    ----------
    least_told, most_differ, coverage_90
        Share of the states that the modality tells that tells least, ``differ`` of the pair that
        differs most (NaN without one), and the share of counts within intervals of 90 % of the
        modality whose share is farthest from it.
    told
        A row a modality. ``n_cells`` that have it and another. ``alone`` and ``left_out`` are
        shares of the variance of the states: what the modality tells by itself, and what goes
        without it. ``nats_alone`` is the mean KL of what it tells by itself to the prior, NaN
        where the prior has no density, and ``nats_left_out`` that of the whole posterior to the
        one without it.
    axes
        A row a number of the state: its variance over the cells, ``variance``, and for each
        modality the share of it that is told ``alone`` or goes if it is ``left_out``. Columns have
        two levels.
    agreement
        A row a pair of modalities: ``n_cells`` that have both, ``differ``, by how much what they
        tell of a cell differs, over what the uncertainties that they state allow for (1: as much),
        and ``foscttm``, the share of other cells that are nearer than the cell itself (0.5 by
        chance).
    imputation
        A row a modality: how many cells and features it was imputed in from the others,
        ``coverage_50`` and ``coverage_90``, the share of counts within the intervals of that
        probability, and ``correlation`` of predicted and observed values over the cells, median of
        the features.
    features
        A row a feature that was imputed: ``modality``, ``feature``, ``coverage_90`` and
        ``correlation``.
    """

    name: ClassVar[str] = "modalities"
    title: ClassVar[str] = "Do the modalities tell the same, and can they be imputed?"
    explanation: ClassVar[str] = (
        "Each cell that has several modalities is looked at once with all of them, once with each "
        "alone and once without each. A modality that tells nothing by itself leaves cells that "
        "have no other near the prior's mean; two that tell different things of the same cell "
        "keep cells with one apart from cells with the other. Each modality is predicted from the "
        "others, and its counts are held against the intervals. Counts are whole numbers, so each "
        "is spread evenly over the probability that it has: then just 90 % lie within intervals "
        "of 90 % if these are right."
    )
    reference: ClassVar[str] = (
        "Dunn and Smyth, J. Comput. Graph. Stat. 5 (1996), Randomized quantile residuals. "
        "Liu et al., WABI (2019), Jointly embedding multiple single-cell omics measurements."
    )

    least_told: float
    most_differ: float
    coverage_90: float
    told: pd.DataFrame
    axes: pd.DataFrame
    agreement: pd.DataFrame
    imputation: pd.DataFrame
    features: pd.DataFrame
