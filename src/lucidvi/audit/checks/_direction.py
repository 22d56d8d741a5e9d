"""Whether spliced and unspliced molecules tell in which direction cells move."""

from __future__ import annotations

from lucidvi.audit.subject import Subject
from lucidvi.model import LucidModel, has_capability
from lucidvi.results import Direction, Finding, Skipped


def check(subject: Subject) -> Finding:
    """Ask a model of spliced and unspliced molecules about the cells that are looked at."""
    model = subject.model
    if not (isinstance(model, LucidModel) and has_capability(model, "velocity")):
        return Skipped.of(Direction, "The model knows nothing of unspliced molecules.")
    if not subject.module.kinetics.is_fitted:
        return Skipped.of(Direction, "The kinetics have not been fitted: model.fit_kinetics().")
    found: Finding = model.get_direction(subject.adata, subject.sample.evaluated)
    return found
