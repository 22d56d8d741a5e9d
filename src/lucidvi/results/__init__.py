"""What users get, frozen: findings with their verdicts, scores, posteriors of cells."""

from lucidvi.results._criterion import VERDICTS, Criterion, Verdict, judge, worst
from lucidvi.results._cure import Change, Cure, merged
from lucidvi.results._finding import Finding, Skipped
from lucidvi.results._findings import Findings
from lucidvi.results._json import jsonable
from lucidvi.results._posteriors import Posteriors

__all__ = [
    "VERDICTS",
    "Change",
    "Criterion",
    "Cure",
    "Finding",
    "Findings",
    "Posteriors",
    "Skipped",
    "Verdict",
    "jsonable",
    "judge",
    "merged",
    "worst",
]
