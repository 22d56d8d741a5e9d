"""Numbers held against thresholds, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lucidvi.results._outline import wrapped

#: What thresholds make of a number.
Verdict = Literal["ok", "warn", "fail", "skipped"]

#: From best to worst. What was skipped says nothing, so it never decides.
VERDICTS: tuple[Verdict, ...] = ("skipped", "ok", "warn", "fail")
#: Verdicts that have a threshold, in the order of the fields of a criterion.
LEVELS = ("warn", "fail")


@dataclass(frozen=True)
class Criterion:
    """One number of a finding, held against its thresholds.

    Parameters
    ----------
    name
        Name of the criterion, unique within its finding.
    verdict
        What the thresholds make of the value.
    statement
        One sentence for a reader who knows biology, with the numbers in it; of a criterion that
        was skipped, the reason.
    value
        The number that is judged; NaN where it was skipped.
    warn, fail
        Thresholds from which on the verdict is ``warn`` or ``fail``; None where it never is.
    worse
        Whether higher or lower values are worse.
    cure
        Code to paste, empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    statement: str
    value: float = math.nan
    warn: float | None = None
    fail: float | None = None
    worse: Literal["higher", "lower"] = "higher"
    cure: str = ""

    @classmethod
    def skipped(cls, name: str, reason: str) -> Criterion:
        """Return a criterion that does not apply, and why."""
        return cls(name, "skipped", reason)

    def __repr__(self) -> str:
        levels = "".join(
            f", {level} from {value:g}"
            for level, value in (("warn", self.warn), ("fail", self.fail))
            if value is not None
        )
        heading = f"Criterion {self.name}: {self.verdict} (value {self.value:.4g}{levels}). "
        return wrapped(heading + self.statement)


def judge(
    name: str,
    value: float,
    statement: str,
    *,
    warn: float | None = None,
    fail: float | None = None,
    worse: Literal["higher", "lower"] = "higher",
    cure: str = "",
) -> Criterion:
    """Hold a value against its thresholds; see :class:`Criterion`.

    A value that is not a number fails: nothing can be said for it. The cure is dropped where the
    verdict is ``ok``.
    """
    sign = 1 if worse == "higher" else -1

    def reaches(threshold: float | None) -> bool:
        return threshold is not None and not sign * value < sign * threshold

    verdict: Verdict = "fail" if reaches(fail) else "warn" if reaches(warn) else "ok"
    value = float(value)
    cure = "" if verdict == "ok" else cure
    return Criterion(name, verdict, statement, value, warn, fail, worse, cure)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts; ``"skipped"`` of none."""
    return max(verdicts, key=VERDICTS.index, default="skipped")
