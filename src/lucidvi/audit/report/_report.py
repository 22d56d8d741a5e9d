"""All findings of an audit, and the page that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar

from lucidvi.audit.report._html import page
from lucidvi.checks import check_suffix
from lucidvi.files import write_text
from lucidvi.results import Findings


@dataclass(frozen=True, eq=False, repr=False)
class Report(Findings):
    """Findings by name; ``print(report)`` shows the summary.

    Parameters
    ----------
    findings
        Findings by name, in the order of the checks.
    about
        What was audited and how: model, numbers of cells and genes, which cells were held out,
        seed, versions, seconds in all and of each check, where what several share, such as refined
        posteriors, counts for the first that asks.
    """

    hint: ClassVar[str] = (
        "print(report) adds what to do, report['fit'] is one finding, "
        "report.to_html('audit.html') writes the page."
    )

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
        write_text(path, ".html", page(self.findings, self.verdict, self.about))
