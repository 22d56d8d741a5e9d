"""Several findings of one model, to print and to keep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lucidvi.results._criterion import Verdict, worst
from lucidvi.results._finding import Finding
from lucidvi.results._json import jsonable
from lucidvi.results._outline import wrapped
from lucidvi.results._text import STYLES, as_text, fragment, what_to_do


@dataclass(frozen=True, eq=False)
class Findings(Mapping[str, Finding]):
    """Findings by name; ``print`` them for a summary.

    Parameters
    ----------
    findings
        Findings by name, in the order of the checks.
    about
        What was audited and how: model, numbers of cells and genes, which cells were held out,
        seed, versions, seconds in all and of each check, where what several share, such as refined
        posteriors, counts for the first that asks.
    """

    #: What else can be asked.
    hint: ClassVar[str] = "print(findings) adds what to do."

    findings: dict[str, Finding]
    about: dict[str, Any]

    def __getitem__(self, name: str) -> Finding:
        return self.findings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the findings."""
        return worst(finding.verdict for finding in self.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in types that JSON has."""
        findings = {name: finding.to_dict() for name, finding in self.items()}
        return {"verdict": self.verdict, "about": jsonable(self.about), "findings": findings}

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write all of it to a JSON file, which appears whole or not at all.

        Parameters
        ----------
        path
            File to write, ``.json``; an existing one is replaced.

        Raises
        ------
        lucidvi.errors.FileError
            If it is named otherwise or cannot be written.
        """
        from lucidvi.files import write_text  # brings torch, which plots do without

        write_text(path, ".json", json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    def __rich__(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for finding in self.values():
            table.add_row(
                Text(finding.verdict, style=STYLES[finding.verdict]),
                Text(finding.name, style="bold"),
                escape(finding.summary),
            )
            for criterion in finding.problems[1:]:
                mark = Text(criterion.verdict, style=STYLES[criterion.verdict])
                table.add_row(mark, "", escape(criterion.statement))
        cures = [part for finding in self.values() for part in what_to_do(finding)]
        return Group(self._heading(), self._warning(), table, *cures)

    def _heading(self) -> Text:
        heading = Text("Audit: ")
        heading.append(self.verdict, style=STYLES[self.verdict])
        if {"model", "n_cells", "n_obs", "n_genes"} <= set(self.about):
            size = "  {model}, {n_cells:,} of {n_obs:,} cells x {n_genes:,} genes"
            heading.append(size.format_map(self.about))
        return heading

    def _warning(self) -> Text:
        """Say why what is told is not of cells that were held out, if it is not."""
        held_out = str(self.about.get("held_out", ""))
        is_none = held_out.startswith("none")
        return Text(f"Held out of training: {held_out}." if is_none else "", style="yellow")

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}, {self._heading().plain}"]
        for name, finding in self.items():
            label = f"    {finding.verdict:7} {name:15} "
            lines.append(wrapped(finding.summary, label, " " * len(label)))
        lines.append(wrapped(self.hint, "    "))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (criterion.verdict, name, criterion.statement)
            for name, finding in self.items()
            for criterion in (finding.problems or finding.passed[:1])
        ]
        cures = {name: finding.cure for name, finding in self.items() if finding.cure}
        return fragment(self._heading().plain, rows, cures)
