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
    _modalities,
)
from lucidvi.audit.subject import Subject
from lucidvi.results import (
    Amortization,
    Collapse,
    Confounding,
    Finding,
    Fit,
    Identifiability,
    Modalities,
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
    of_several
        Whether it is asked only of models of several modalities, unless it is named.
    """

    finding: type[Finding]
    answer: Callable[[Subject], Finding]
    of_several: bool = False


#: The values of ``checks``, in the order of the report.
CHECKS: dict[str, Check] = {
    check.finding.name: check
    for check in (
        Check(Collapse, _collapse.check),
        Check(Identifiability, _identifiability.check),
        Check(Amortization, _amortization.check),
        Check(Fit, _fit.check),
        Check(Confounding, _confounding.check),
        Check(Modalities, _modalities.check, of_several=True),
    )
}


def asked_of(n_modalities: int) -> list[str]:
    """Return the names of the checks of a model, where nobody chose.

    Parameters
    ----------
    n_modalities
        How many modalities it has.
    """
    return [name for name, check in CHECKS.items() if n_modalities > 1 or not check.of_several]
