"""Batch and depth in the latent space: what the check of it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from lucidvi.results._finding import Finding


@dataclass(frozen=True, kw_only=True)
class Confounding(Finding):
    """How well nearest neighbours tell batch and library size.

    Parameters
    ----------
    batch_accuracy
        Balanced accuracy of telling a cell's batch from its neighbours' (mean over the batches
        of the share of cells that are told right); NaN with one batch.
    batch_chance
        Mean of ``batch_accuracy`` over permutations.
    batch_excess
        ``(accuracy - chance) / (1 - chance)``: 0 for chance, 1 for certainty.
    batch_p
        Permutation p-value.
    library_r2
        Share of the variance of log library size that the neighbours' mean explains.
    library_chance, library_excess, library_p
        The same for the library size.
    library_latent_share
        Share of the variance of the latent space that log library size explains linearly, within
        cell types where they are known.
    batch_null, library_null
        The values under each permutation, shape ``(n_permutations,)``.
    batch_recall
        Share of the cells of each batch, by its name, whose batch is told right.
    within_labels
        Whether cells were permuted within their labels only.
    """

    name: ClassVar[str] = "confounding"
    title: ClassVar[str] = "Does the latent space hold batch or sequencing depth?"
    explanation: ClassVar[str] = (
        "The latent space should hold biology, and the decoder is told batch and library size "
        "besides. So neither should be told from a cell's nearest neighbours better than by "
        "chance. Chance is what permuted cells give; where cell types are known, cells are "
        "permuted within their type, so that batches of different composition and types of "
        "different size do not count against the model. Where they are not known, some of it is "
        "biology."
    )
    reference: ClassVar[str] = (
        "Ojala and Garriga, JMLR 11 (2010), Permutation tests for studying classifier "
        "performance. Büttner et al., Nature Methods 16 (2019), A test metric for assessing "
        "single-cell RNA-seq batch correction."
    )

    batch_accuracy: float
    batch_chance: float
    batch_excess: float
    batch_p: float
    library_r2: float
    library_chance: float
    library_excess: float
    library_p: float
    library_latent_share: float
    batch_null: np.ndarray
    library_null: np.ndarray
    batch_recall: pd.Series
    within_labels: bool
