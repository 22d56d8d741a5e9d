"""All findings of a model, to print and to keep."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from lucidvi.audit._finding import Finding, Verdict, jsonable, worst
from lucidvi.audit._html import page
from lucidvi.errors import FileError
from lucidvi.files import written_whole

#: How the verdicts look in a terminal.
STYLES: dict[Verdict, str] = {
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "skipped": "dim",
}
#: Columns of a report that is turned into text.
WIDTH = 99


@dataclass(frozen=True, eq=False)
class Report(Mapping[str, Finding]):
    """Findings by name; ``print(report)`` shows the summary.

    Parameters
    ----------
    findings
        By name, in the order of the checks.
    about
        What was audited and how: model, numbers of cells and genes, which cells were held out,
        seed, versions, seconds in all and of each check, where what several share, such as refined
        posteriors, counts for the first that asks.
    """

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
        write(path, ".json", json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a page for the browser: verdicts, what they mean, figures and what to do.

        The page is one file and needs no network. It appears whole or not at all.

        Parameters
        ----------
        path
            File to write, ``.html``; an existing one is replaced.

        Raises
        ------
        lucidvi.errors.FileError
            If it is named otherwise or cannot be written.
        """
        check_suffix(path, ".html")  # before the figures are drawn
        write(path, ".html", page(self.findings, self.verdict, self.about))

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
        cures = [part for finding in self.values() for part in _cure(finding)]
        return Group(self._heading(), Text(), table, *cures)

    def _heading(self) -> Text:
        heading = Text("Audit: ")
        heading.append(self.verdict, style=STYLES[self.verdict])
        if {"model", "n_cells", "n_obs", "n_genes"} <= set(self.about):
            said = "  {model}, {n_cells:,} of {n_obs:,} cells x {n_genes:,} genes"
            heading.append(said.format_map(self.about))
        return heading

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__


def write(path: str | PathLike[str], suffix: str, text: str) -> None:
    """Write a text file whole or not at all; raise :class:`FileError` if that cannot be."""
    path = check_suffix(path, suffix)
    try:
        with written_whole(path.parent, path.name) as folder:
            (folder / path.name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(
            f"`path` is {str(path)!r}, which cannot be written: {error.strerror}.",
            remedy="Name a file in a folder that you may write to.",
        ) from error


def check_suffix(path: str | PathLike[str], suffix: str) -> Path:
    """Return the path of a file to write; raise :class:`FileError` for another suffix."""
    path = Path(path).expanduser()
    if path.suffix != suffix:
        raise FileError(
            f"`path` is {str(path)!r}, which does not end in {suffix}.",
            remedy=f"Name it {str(path.with_suffix(suffix)) if path.name else suffix!r}.",
        )
    return path


def section(finding: Finding) -> Group:
    """Return a finding to print alone: all its criteria, and what to do."""
    heading = Text(f"{finding.title} ", style="bold")
    heading.append(finding.verdict, style=STYLES[finding.verdict])
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for criterion in finding.criteria:
        mark = Text(criterion.verdict, style=STYLES[criterion.verdict])
        table.add_row(mark, Text(criterion.name, style="bold"), escape(criterion.statement))
    return Group(heading, Text(), table, *_cure(finding))


def as_text(renderable: Any) -> str:
    """Return what rich would print as plain text."""
    # A file of its own, so that neither colours nor the terminal's width get in.
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _cure(finding: Finding) -> tuple[Any, ...]:
    """Return what to do about a finding, to print."""
    if not finding.cure:
        return ()
    style = Syntax("", "python", theme="ansi_light", background_color="default")
    code = style.highlight(finding.cure)
    code.rstrip()
    # Neither indented nor wrapped, so that it can be pasted; `crop=False` prints all of it.
    code.no_wrap, code.overflow = True, "ignore"
    return Text(), Text(f"What to do ({finding.name}):", style="bold"), code
