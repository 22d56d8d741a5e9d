"""A model and its cells as the checks see them: samples, posteriors, predictions, priors."""

from lucidvi.audit.subject._alternatives import Comparison, comparison
from lucidvi.audit.subject._audited import N_CELLS_MIN, audited_cells, check_model
from lucidvi.audit.subject._directions import active_directions, least_worth
from lucidvi.audit.subject._predictions import Predictions, predictions
from lucidvi.audit.subject._priors import (
    CellPriors,
    entropy,
    inapplicable,
    marginal_scale,
    spread_by,
)
from lucidvi.audit.subject._sample import MISSING, SPLITS, Sample, draw_sample
from lucidvi.audit.subject._subject import Refinement, Subject
from lucidvi.audit.subject._views import Imputed, imputed, told_by, who_has

__all__ = [
    "MISSING",
    "N_CELLS_MIN",
    "SPLITS",
    "CellPriors",
    "Comparison",
    "Imputed",
    "Predictions",
    "Refinement",
    "Sample",
    "Subject",
    "active_directions",
    "audited_cells",
    "check_model",
    "comparison",
    "draw_sample",
    "entropy",
    "imputed",
    "inapplicable",
    "least_worth",
    "marginal_scale",
    "predictions",
    "spread_by",
    "told_by",
    "who_has",
]
