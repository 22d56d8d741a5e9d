"""A further finding is one file, its class and its check, and one row in the table of checks."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from lucidvi import audit
from lucidvi.audit.checks import CHECKS, Check
from lucidvi.audit.subject import Subject
from lucidvi.results import Finding, judge

# -- the file: lucidvi/audit/checks/_spread.py -------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Spread(Finding):
    """Whether cells lie apart.

    Parameters
    ----------
    variance
        Variance of the posterior means, mean over the axes.
    """

    name: ClassVar[str] = "spread"
    title: ClassVar[str] = "Do cells lie apart?"
    explanation: ClassVar[str] = "Cells that all lie at one place cannot be told apart."
    reference: ClassVar[str] = "Burda et al., ICLR (2016), Importance weighted autoencoders."

    variance: float


def check(subject: Subject) -> Spread:
    """Measure how far the cells of a model lie apart."""
    variance = float(subject.latent.loc.var(axis=0).mean())
    statement = f"The posterior means have a variance of {variance:.2f}."
    cure = subject.cures.of("collapsed")
    criterion = judge("variance", variance, statement, fail=1e6, worse="lower", cure=cure)
    return Spread(criteria=(criterion,), variance=variance)


# -- the row -----------------------------------------------------------------------------------

ROW = Check(Spread, check)


def test_it_is_audited_reported_and_written(healthy, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CHECKS, Spread.name, ROW)
    report = audit.run(healthy, checks=["spread", "confounding"], max_cells=200)
    found = report["spread"]
    assert isinstance(found, Spread)
    z = healthy.get_latent_representation()
    assert found.variance == pytest.approx(float(np.var(z, axis=0).mean()), rel=0.3)
    assert (found.verdict, found.modality) == ("fail", "rna")
    compile(found.cure, "cure", "exec")
    assert "Do cells lie apart?" in str(found)
    assert report.to_dict()["findings"]["spread"]["numbers"] == pytest.approx(
        {"variance": found.variance}, rel=1e-5
    )
    report.to_html(tmp_path / "report.html")
    assert "Do cells lie apart?" in (tmp_path / "report.html").read_text()


def test_it_is_skipped_where_cells_are_too_few(healthy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CHECKS, Spread.name, ROW)
    assert audit.run(healthy, checks=["spread"], max_cells=10)["spread"].verdict == "skipped"
