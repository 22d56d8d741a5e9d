"""Whether a model can be trusted: checks, their findings, and what to do."""

from lucidvi.audit._run import run
from lucidvi.audit.checks._amortization import Amortization, GroupGap, amortization
from lucidvi.audit.checks._collapse import Collapse, collapse
from lucidvi.audit.checks._confounding import Confounding, confounding
from lucidvi.audit.checks._fit import Alternative, Fit, fit
from lucidvi.audit.checks._identifiability import Identifiability, identifiability
from lucidvi.audit.cures._cures import Cures
from lucidvi.audit.cures._making import Making
from lucidvi.audit.report._report import Report
from lucidvi.audit.retraining._across_runs import Run, Stability, across_runs
from lucidvi.audit.retraining._stability import stability
from lucidvi.audit.subject._alternatives import Comparison
from lucidvi.audit.subject._predictions import Predictions
from lucidvi.audit.subject._priors import CellPriors
from lucidvi.inference import information_metric
from lucidvi.results import Criterion, Finding, Skipped, jsonable, judge

__all__ = [
    "Alternative",
    "Amortization",
    "CellPriors",
    "Collapse",
    "Comparison",
    "Confounding",
    "Criterion",
    "Cures",
    "Finding",
    "Fit",
    "GroupGap",
    "Identifiability",
    "Making",
    "Predictions",
    "Report",
    "Run",
    "Skipped",
    "Stability",
    "across_runs",
    "amortization",
    "collapse",
    "confounding",
    "fit",
    "identifiability",
    "information_metric",
    "jsonable",
    "judge",
    "run",
    "stability",
]
