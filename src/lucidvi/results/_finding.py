"""What a check found: numbers, verdicts with their thresholds, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from lucidvi.results._criterion import LEVELS, Criterion, Verdict, worst
from lucidvi.results._cure import merged
from lucidvi.results._json import jsonable
from lucidvi.results._outline import listed, wrapped
from lucidvi.results._text import as_text, fragment, section

#: Fields that are texts of the check and not what it found.
TEXTS = ("name", "title", "modality", "explanation", "reference")
#: What else can be asked.
HINT = "print(finding) adds what each criterion says and what to do."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found. Subclasses add the numbers and arrays, as typed fields.

    Parameters
    ----------
    criteria
        What the verdict rests on, the most telling one first.
    modality
        Name of the modality whose features were looked at; empty where nobody said.
    """

    #: Key in the report.
    name: ClassVar[str]
    #: The question that the check answers.
    title: ClassVar[str]
    #: What was checked and what it means, a paragraph.
    explanation: ClassVar[str]
    #: Where the method is from.
    reference: ClassVar[str]

    criteria: tuple[Criterion, ...]
    modality: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the criteria."""
        return worst(criterion.verdict for criterion in self.criteria)

    @property
    def problems(self) -> tuple[Criterion, ...]:
        """The criteria that are not ``ok``, the worst first; none that were skipped."""
        problems = [c for c in self.criteria if c.verdict in LEVELS]
        return tuple(sorted(problems, key=lambda c: c.verdict != "fail"))

    @property
    def summary(self) -> str:
        """One sentence: the worst problem or, without any, what the first criterion says."""
        if self.problems:
            return self.problems[0].statement
        return self.passed[0].statement

    @property
    def passed(self) -> tuple[Criterion, ...]:
        """The criteria that are ``ok``; without any, all."""
        return tuple(c for c in self.criteria if c.verdict == "ok") or self.criteria

    @property
    def thresholds(self) -> dict[str, float]:
        """Thresholds by ``"criterion.warn"`` and ``"criterion.fail"``."""
        pairs = ((c.name, level, getattr(c, level)) for c in self.criteria for level in LEVELS)
        return {f"{name}.{level}": value for name, level, value in pairs if value is not None}

    @property
    def cure(self) -> str:
        """Code to paste, of all problems; empty where there are none."""
        return merged(c.cure for c in self.problems if c.cure)

    @property
    def numbers(self) -> dict[str, float]:
        """The single numbers among the fields."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if type(value) in (int, float)}

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in types that JSON has; arrays are under ``"data"``."""
        texts = ("name", "title", "verdict", "summary", *TEXTS[2:], "cure")
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TEXTS}
        return jsonable(
            {name: getattr(self, name) for name in texts}
            | {"thresholds": self.thresholds, "numbers": self.numbers}
            | {"criteria": data.pop("criteria"), "data": data}
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Of the class itself, so that `dataclass` does not put one of thousands of numbers here.
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __rich__(self) -> Any:
        return section(self)

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        numbers = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.numbers.items()
        ]
        others = {field.name for field in fields(self)} - {"criteria", *TEXTS, *self.numbers}
        lines = [
            wrapped(f"{type(self).__name__} ({self.name}): {self.verdict}. {self.summary}"),
            listed("criteria", [f"{c.name} {c.verdict}" for c in self.criteria]),
            listed("numbers", numbers),
            listed("arrays and others", sorted(others)),
            f"    {HINT}",
        ]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        rows = [(c.verdict, c.name, c.statement) for c in self.criteria]
        cures = {self.name: self.cure} if self.cure else {}
        return fragment(f"{self.title} {self.verdict}", rows, cures)


@dataclass(frozen=True, kw_only=True)
class Skipped(Finding):
    """A check that does not apply, and why; it has the name and texts of the one left out."""

    name: str  # type: ignore[misc]
    title: str  # type: ignore[misc]
    explanation: str  # type: ignore[misc]
    reference: str  # type: ignore[misc]

    @classmethod
    def of(cls, finding: type[Finding], reason: str) -> Skipped:
        """Return what stands in for a finding of this class."""
        return cls(
            name=finding.name,
            title=finding.title,
            explanation=finding.explanation,
            reference=finding.reference,
            criteria=(Criterion.skipped(finding.name, reason),),
        )
