"""What users get, frozen: findings with their verdicts, scores, posteriors of cells."""

from lucidvi.results._amortization import Amortization, GroupGap
from lucidvi.results._calibration import Calibration, Setting
from lucidvi.results._collapse import Collapse
from lucidvi.results._confounding import Confounding
from lucidvi.results._criterion import VERDICTS, Criterion, Verdict, judge, worst
from lucidvi.results._cure import Change, Cure, merged
from lucidvi.results._design import DesignResult
from lucidvi.results._direction import Direction
from lucidvi.results._finding import Finding, Skipped
from lucidvi.results._findings import Findings
from lucidvi.results._fit import Alternative, Fit
from lucidvi.results._identifiability import Identifiability
from lucidvi.results._imputation import Imputation, central
from lucidvi.results._integration import Integration
from lucidvi.results._json import jsonable
from lucidvi.results._modalities import Modalities
from lucidvi.results._posteriors import Posteriors
from lucidvi.results._stability import Stability

__all__ = [
    "VERDICTS",
    "Alternative",
    "Amortization",
    "Calibration",
    "Change",
    "Collapse",
    "Confounding",
    "Criterion",
    "Cure",
    "DesignResult",
    "Direction",
    "Finding",
    "Findings",
    "Fit",
    "GroupGap",
    "Identifiability",
    "Imputation",
    "Integration",
    "Modalities",
    "Posteriors",
    "Setting",
    "Skipped",
    "Stability",
    "Verdict",
    "central",
    "jsonable",
    "judge",
    "merged",
    "worst",
]
