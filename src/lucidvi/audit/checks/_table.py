"""The table of the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lucidvi.audit.checks import (
    _amortization,
    _collapse,
    _confounding,
    _fit,
    _identifiability,
)
from lucidvi.audit.subject import Subject
from lucidvi.results import (
    Amortization,
    Collapse,
    Confounding,
    Finding,
    Fit,
    Identifiability,
)


@dataclass(frozen=True)
class Check:
    """One question that an audit asks.

    Parameters
    ----------
    finding
        Class of what it finds, which has its name and its texts.
    answer
        Function that makes the finding of a model and its cells, or a
        :class:`~lucidvi.results.Skipped` where the question does not apply.
    """

    finding: type[Finding]
    answer: Callable[[Subject], Finding]


#: The values of ``checks``, in the order of the report.
CHECKS: dict[str, Check] = {
    check.finding.name: check
    for check in (
        Check(Collapse, _collapse.check),
        Check(Identifiability, _identifiability.check),
        Check(Amortization, _amortization.check),
        Check(Fit, _fit.check),
        Check(Confounding, _confounding.check),
    )
}
