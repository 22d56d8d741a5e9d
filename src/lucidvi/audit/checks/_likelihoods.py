"""Which other likelihood would fit better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import Comparison
from lucidvi.results import Alternative, Criterion, judge

#: Gain in proportion to what counts cost.
GAIN_WARN, GAIN_FAIL = 0.01, 0.05


def gain(compared: Comparison, better: str, than: str) -> tuple[float, float]:
    """Mean of the log likelihood gained, nats a cell, and its standard error."""
    difference = compared.evaluated[better] - compared.evaluated[than]
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def alternatives(compared: Comparison | None) -> tuple[Alternative, ...]:
    """Return the other likelihoods, that which gains most first."""
    if compared is None:
        return ()
    names = [name for name in compared.evaluated if name != "own"]
    found = [Alternative(name, *gain(compared, name, "own")) for name in names]
    return tuple(sorted(found, key=lambda alternative: -alternative.gain))


def likelihood_cure(found: tuple[Alternative, ...], likelihood: str, cures: Cures) -> str:
    """Return what to do where counts are not distributed as predicted.

    It is the likelihood that gains most, if that is another than the model's own and its gain is
    beyond chance. The model's own, fitted anew, may gain too: then the training was too short.
    """
    sure = [a for a in found if a.gain > 2 * a.error]
    if sure and sure[0].name != likelihood:
        return cures.of("likelihood", name=sure[0].name)
    return cures.of("longer")


def compare_likelihoods(
    compared: Comparison | None, likelihood: str, cures: Cures
) -> list[Criterion]:
    """Ask which other likelihood is needed."""
    if compared is None or likelihood not in QUESTIONS:
        reason = "There is no other likelihood to compare with."
        return [Criterion.skipped("likelihood", reason)]
    asked = [q for q in QUESTIONS[likelihood] if q.better in compared.evaluated]
    return [_asked(compared, question, cures.of(question.cure)) for question in asked]


@dataclass(frozen=True)
class Question:
    """Whether one likelihood is needed in place of another."""

    name: str
    better: str
    than: str
    what: str
    cure: str


def _asked(compared: Comparison, question: Question, cure: str) -> Criterion:
    gained, error = gain(compared, question.better, question.than)
    # What the likelihood could gain, in proportion to what the counts hold besides.
    share = gained / float(-compared.evaluated[question.than].mean())
    return judge(
        question.name,
        share if gained > 2 * error else min(share, 0.0),
        f"{question.what} would gain {gained:.1f} ± {error:.1f} nats a held-out cell "
        f"({share:.1%} of what its counts cost).",
        warn=GAIN_WARN,
        fail=GAIN_FAIL,
        cure=cure,
    )


ZERO_INFLATION = Question("zero_inflation", "zinb", "nb", "Zero inflation", "zero_inflation")
BY_BATCH = Question(
    "dispersion", "nb by batch", "nb", "A dispersion for each batch", "dispersion_by_batch"
)
DISPERSED = Question("dispersion", "nb", "poisson", "Over-dispersion", "over_dispersion")

#: What is asked of a likelihood.
QUESTIONS: dict[str, tuple[Question, ...]] = {
    "poisson": (DISPERSED,),
    "nb": (ZERO_INFLATION, BY_BATCH),
    "zinb": (BY_BATCH,),
    "nb by batch": (ZERO_INFLATION,),
}
