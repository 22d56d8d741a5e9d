"""Reports: a mapping of findings, printed and kept."""

import io
import json

import pytest
from rich.console import Console

from lucidvi.audit import Report
from lucidvi.errors import FileError
from lucidvi.results import Collapse, Criterion, Fit, Skipped


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


WRITERS = {".json": Report.to_json, ".html": Report.to_html}


@pytest.mark.parametrize(("suffix", "write"), WRITERS.items())
def test_files_are_whole_and_replace(report, tmp_path, suffix, write):
    file = tmp_path / "audit" / f"report{suffix}"
    write(report, file)
    first = file.read_text()
    assert "Counts are [odd]." in first
    write(Report({}, {}), str(file))
    assert "Counts are [odd]." not in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(("suffix", "write"), WRITERS.items())
def test_a_write_that_fails_leaves_what_was(report, tmp_path, monkeypatch, suffix, write):
    file = tmp_path / f"report{suffix}"
    file.write_text("old")

    def full(path, text, **kwargs):
        with path.open("w") as handle:
            handle.write(text[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(file), "write_text", full)
    with pytest.raises(FileError, match=r"cannot be written: No space left"):
        write(report, file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("suffix", "write"), WRITERS.items())
def test_paths_that_cannot_be_written(report, tmp_path, suffix, write):
    (tmp_path / "file").touch()
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (tmp_path / "file" / f"report{suffix}", tmp_path / f"folder{suffix}"):
        with pytest.raises(FileError, match=rf"`path` is '{path}', which cannot be written"):
            write(report, path)
    for name in ("report.txt", "report", f"{suffix}"):
        with pytest.raises(FileError, match=f"does not end in {suffix}"):
            write(report, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", f"folder{suffix}"}


def test_code_is_whole_and_can_be_pasted(report):
    """Neither indented nor cut off, however narrow the terminal."""
    code = "model.train(" + "x" * 200 + ")"
    object.__setattr__(report["fit"], "criteria", (Criterion("a", "fail", "Odd.", cure=code),))
    console = Console(width=40, file=io.StringIO())
    console.print(report, crop=False)
    assert code in console.file.getvalue().splitlines()


def test_repr_is_a_few_lines(report, make_findings):
    whole = Report(make_findings(), report.about)
    lines = repr(whole).splitlines()
    assert len(lines) < 20
    assert max(map(len, lines)) <= 88
    assert lines[0] == f"Report, Audit: {whole.verdict}  SCVI, 1,000 of 2,000 cells x 30 genes"
    for name, finding in whole.items():
        assert any(line.split()[:2] == [finding.verdict, name] for line in lines)
    assert "model.train(" in str(whole)
    assert "model.train(" not in repr(whole)
    assert repr(Report({}, {})).startswith("Report, Audit: skipped")


def test_in_a_notebook(report):
    html = report._repr_html_()
    assert "1,000 of 2,000 cells" in html
    for said in (
        "No [reason].",
        "Counts are [odd].",
        "Zeros are many.",
        "<pre>model.train()</pre>",
    ):
        assert said in html
    object.__setattr__(report["fit"].criteria[0], "statement", "<script>")
    assert "<script>" not in report._repr_html_()


def test_cells_that_were_trained_on_are_said(report):
    assert "Held out" not in str(report)
    report.about["held_out"] = "none: fewer than 5 were"
    assert "Held out of training: none: fewer than 5 were." in str(report)
