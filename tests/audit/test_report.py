"""Reports: a mapping of findings, printed and kept."""

import json

import pytest

from lucidvi.audit import Collapse, Criterion, Fit, Report, Skipped


@pytest.fixture
def report():
    good = Skipped.of(Collapse, "No [reason].")
    bad = Skipped.of(Fit, "")
    object.__setattr__(
        bad,
        "criteria",
        (
            Criterion("a", "fail", "Counts are [odd].", cure="model.train()"),
            Criterion("b", "warn", "Zeros are many."),
        ),
    )
    about = {"model": "SCVI", "n_cells": 1000, "n_obs": 2000, "n_genes": 30}
    return Report({"collapse": good, "fit": bad}, about)


def test_mapping(report):
    assert list(report) == ["collapse", "fit"]
    assert len(report) == 2
    assert report["fit"].verdict == report.verdict == "fail"
    assert Report({}, {}).verdict == "skipped"


def test_text(report):
    text = str(report)
    assert "Audit: fail" in text
    assert "1,000 of 2,000 cells x 30 genes" in text
    for said in ("No [reason].", "Counts are [odd].", "Zeros are many.", "model.train()"):
        assert said in text
    assert "\x1b" not in text


def test_json_is_whole_and_replaces(report, tmp_path):
    file = tmp_path / "audit" / "report.json"
    report.to_json(file)
    told = json.loads(file.read_text())
    assert told == report.to_dict()
    assert told["findings"]["fit"]["verdict"] == "fail"
    Report({}, {}).to_json(file)
    assert json.loads(file.read_text())["findings"] == {}
    assert [path.name for path in file.parent.iterdir()] == ["report.json"]
