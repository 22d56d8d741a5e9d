"""Which other likelihood would fit better."""

from __future__ import annotations

import numpy as np

from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import Comparison
from lucidvi.distributions import BY_BATCH, Question, questions_about
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
    gains = [Alternative(name, *gain(compared, name, "own")) for name in names]
    return tuple(sorted(gains, key=lambda alternative: -alternative.gain))


def likelihood_cure(others: tuple[Alternative, ...], likelihood: str, cures: Cures) -> str:
    """Return what to do where counts are not distributed as predicted.

    It is the likelihood that gains most, if that is another than the model's own and its gain is
    beyond chance. The model's own, fitted anew, may gain too: then the training was too short.
    """
    sure = [a for a in others if a.gain > 2 * a.error]
    if sure and sure[0].name != likelihood:
        return cures.of("likelihood", name=sure[0].name)
    return cures.of("longer")


def compare_likelihoods(
    compared: Comparison | None, likelihood: str, cures: Cures
) -> list[Criterion]:
    """Ask which other likelihood is needed."""
    questions = questions_about(likelihood)
    if compared is None or not questions:
        reason = "There is no other likelihood to compare with."
        return [Criterion.skipped("likelihood", reason)]
    return [
        _answer(compared, q, needed(q, cures)) for q in questions if q.better in compared.evaluated
    ]


def needed(question: Question, cures: Cures) -> str:
    """Return what to do where the better likelihood of a question is needed."""
    if question.better.endswith(BY_BATCH):
        return cures.of("dispersion_by_batch")
    return cures.of("needed_likelihood", name=question.better, why=question.why)


def _answer(compared: Comparison, question: Question, cure: str) -> Criterion:
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
