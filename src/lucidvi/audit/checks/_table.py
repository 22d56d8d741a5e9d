"""The table of the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lucidvi.audit.checks import (
    _amortization,
    _collapse,
    _confounding,
    _direction,
    _fit,
    _identifiability,
    _modalities,
)
from lucidvi.audit.subject import Subject
from lucidvi.model import LucidModel, has_capability
from lucidvi.results import (
    Amortization,
    Collapse,
    Confounding,
    Direction,
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
    capability
        What a model has to be able to do to be asked it, unless it is named: a key of
        :data:`lucidvi.model.CAPABILITIES`.
    """

    finding: type[Finding]
    answer: Callable[[Subject], Finding]
    capability: str | None = None


#: The values of ``checks``, in the order of the report.
CHECKS: dict[str, Check] = {
    check.finding.name: check
    for check in (
        Check(Collapse, _collapse.check),
        Check(Identifiability, _identifiability.check),
        Check(Amortization, _amortization.check),
        Check(Fit, _fit.check),
        Check(Confounding, _confounding.check),
        Check(Modalities, _modalities.check, "several modalities"),
        Check(Direction, _direction.check, "velocity"),
    )
}


def asked_of(model: Any) -> list[str]:
    """Return the names of the checks of a model, where nobody chose.

    Parameters
    ----------
    model
        Of LucidVI, or of scvi-tools, which can do nothing of what a check needs in particular.
    """

    def is_asked(check: Check) -> bool:
        needed = check.capability
        return needed is None or (isinstance(model, LucidModel) and has_capability(model, needed))

    return [name for name, check in CHECKS.items() if is_asked(check)]
