"""Findings as text for a terminal and as a fragment for a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterable
from html import escape as escape_html
from typing import Any, ClassVar, Protocol

from rich.console import Console, Group
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from lucidvi.results._criterion import Criterion, Verdict

#: How the verdicts look in a terminal.
STYLES: dict[Verdict, str] = {
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "skipped": "dim",
}
#: Columns of a report that is turned into text.
WIDTH = 99


class Judged(Protocol):
    """What a finding says of itself."""

    name: ClassVar[str]
    title: ClassVar[str]

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What the verdict rests on."""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the criteria."""

    @property
    def cure(self) -> str:
        """Code to paste; empty where nothing is to be done."""


def section(finding: Judged) -> Group:
    """Return a finding to print alone: all its criteria, and what to do."""
    heading = Text(f"{finding.title} ", style="bold")
    heading.append(finding.verdict, style=STYLES[finding.verdict])
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for criterion in finding.criteria:
        mark = Text(criterion.verdict, style=STYLES[criterion.verdict])
        table.add_row(mark, Text(criterion.name, style="bold"), escape(criterion.statement))
    return Group(heading, Text(), table, *what_to_do(finding))


def what_to_do(finding: Judged) -> tuple[Any, ...]:
    """Return what to do about a finding, to print."""
    if not finding.cure:
        return ()
    style = Syntax("", "python", theme="ansi_light", background_color="default")
    code = style.highlight(finding.cure)
    code.rstrip()
    # Neither indented nor wrapped, so that it can be pasted; `crop=False` prints all of it.
    code.no_wrap, code.overflow = True, "ignore"
    return Text(), Text(f"What to do ({finding.name}):", style="bold"), code


def as_text(renderable: Any) -> str:
    """Return what rich would print as plain text."""
    # A file of its own, so that neither colours nor the terminal's width get in.
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(renderable, crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def fragment(heading: str, rows: Iterable[tuple[str, str, str]], cures: dict[str, str]) -> str:
    """Return a table of verdicts and what to do as HTML that a notebook shows.

    Parameters
    ----------
    heading
        One line.
    rows
        Verdict, name and statement.
    cures
        Code by the name of its finding.
    """
    lines = [f"<p><b>{escape_html(heading)}</b></p>", "<table>"]
    for row in rows:
        cells = "".join(
            f'<td style="text-align: left; vertical-align: top">{escape_html(text)}</td>'
            for text in row
        )
        lines.append(f"<tr>{cells}</tr>")
    lines.append("</table>")
    for name, cure in cures.items():
        summary = f"<summary>What to do ({escape_html(name)})</summary>"
        lines.append(f"<details>{summary}<pre>{escape_html(cure)}</pre></details>")
    return "\n".join(lines)
