"""A report as one page that needs no network: text, styles and figures in one file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lucidvi.pl import PLOTS
from lucidvi.pl._axes import detached_axes
from lucidvi.results import Criterion, Finding, Skipped, Verdict

#: What each verdict means, of the whole report.
MEANINGS: dict[Verdict, str] = {
    "ok": "Yes, as far as was checked: no problem was found.",
    "warn": "With the cautions below, yes.",
    "fail": "Not before what failed is mended: see below what to do.",
    "skipped": "Nothing was checked.",
}
#: What is told of what was audited, and how it is called; the other things are left out.
ABOUT = {
    "model": "Model",
    "modalities": "Modalities",
    "gene_likelihood": "Likelihood of the counts",
    "n_latent": "Latent dimensions",
    "n_genes": "Genes",
    "n_obs": "Cells in the data",
    "n_cells": "Cells looked at",
    "n_held_out": "Of these, held out",
    "held_out": "Held out of training",
    "n_batches": "Batches",
    "n_labels": "Cell types (labels)",
    "seed": "Seed",
    "versions": "Versions",
    "total_seconds": "Seconds that the audit took",
}
#: Style of the figures, whatever the user's own is; the letters are legible on a phone.
FIGURES: list[Any] = [
    "default",
    {"font.size": 10, "axes.titlesize": 10.5, "svg.hashsalt": "lucidvi"},
]


def page(findings: Mapping[str, Finding], verdict: Verdict, about: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    findings
        Findings by name, in the order of the report.
    verdict
        The worst verdict of the findings.
    about
        What was audited and how, see :class:`lucidvi.audit.Report`.
    """
    environment = Environment(
        loader=PackageLoader("lucidvi.audit.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"thresholds": thresholds, "shown": shown}
    return environment.get_template("_page.html.jinja").render(
        findings=findings,
        verdict=verdict,
        meaning=MEANINGS[verdict],
        about=about,
        facts={label: shown(about[name]) for name, label in ABOUT.items() if name in about},
        figures={name: figure(finding) for name, finding in findings.items()},
    )


def figure(finding: Finding) -> dict[str, str] | None:
    """Return the plot of a finding: a ``src`` that holds it, and words in its place; or None."""
    if isinstance(finding, Skipped) or finding.name not in PLOTS:
        return None
    # Within the style from the start: an axis' properties are read when it is made.
    with style.context(FIGURES):
        ax = PLOTS[finding.name](finding, ax=detached_axes())
        if not ax.has_data():  # it says what the page says
            return None
        drawn = io.BytesIO()
        assert isinstance(ax.figure, Figure)
        # Without the date, so that one report is one file.
        ax.figure.savefig(drawn, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    return {"src": f"data:image/svg+xml;base64,{data}", "alt": alternative_text(ax, finding)}


def alternative_text(ax: Axes, finding: Finding) -> str:
    """Say in words what a plot shows."""
    labels = {"Horizontal": ax.get_xlabel(), "Vertical": ax.get_ylabel()}
    axes = (f"{name} axis: {label}." for name, label in labels.items() if label)
    return " ".join([f"Plot: {ax.get_title()}.", *axes, finding.summary]).replace("\n", " ")


def shown(value: Any) -> str:
    """Return a value for the reader: three significant digits of a number, a dash for none."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else "-"
    return f"{value:,}" if type(value) is int else str(value)


def thresholds(criterion: Criterion) -> str:
    """Return from which values on a criterion warns and fails."""
    side = "≥" if criterion.worse == "higher" else "≤"
    levels = {"warn": criterion.warn, "fail": criterion.fail}
    levels = {level: value for level, value in levels.items() if value is not None}
    # No-break spaces: a line ends between thresholds only.
    return ", ".join(f"{level}\xa0{side}\xa0{value:g}" for level, value in levels.items()) or "-"
