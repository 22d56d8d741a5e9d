"""The command line: what it prints, writes, and returns."""

import json
import re

import numpy as np
import pytest
import scvi
from anndata import read_h5ad
from typer.testing import CliRunner

from lucidvi.audit import Report
from lucidvi.cli import app
from lucidvi.model import SCVI
from lucidvi.results import Fit, Skipped

NO_VERDICT = 2


def run(*arguments):
    """Run the command, where nothing may be raised but what sets its exit code."""
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refused(*arguments, says):
    """Check that there is one error, with a remedy, and no report."""
    result = run(*arguments)
    assert result.exit_code == NO_VERDICT
    assert "Audit: " not in result.stdout
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("Remedy: ") == 1
    assert "Traceback" not in result.output
    assert re.search(says, result.stderr), result.stderr


@pytest.fixture(scope="module")
def saved(make_adata, tmp_path_factory):
    """A folder with a model and its cells."""
    folder = tmp_path_factory.mktemp("saved")
    adata = make_adata(n_cells=80, n_genes=25)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=2)
    model.train(max_epochs=2, enable_progress_bar=False)
    model.save(str(folder / "model"))
    adata.write_h5ad(folder / "cells.h5ad")
    return folder


@pytest.fixture
def untouched(saved):
    """Check that what was given is as it was."""
    before = {path: path.stat().st_mtime_ns for path in saved.rglob("*")}
    yield
    assert {path: path.stat().st_mtime_ns for path in saved.rglob("*")} == before


@pytest.mark.usefixtures("untouched")
def test_success(saved, tmp_path):
    html, numbers = tmp_path / "new" / "report.html", tmp_path / "report.json"
    result = run(
        *(saved / "model", saved / "cells.h5ad", "--html", html, "--json", numbers),
        *("--max-cells", 50, "--seed", 3, "--labels-key", "label"),
    )
    told = json.loads(numbers.read_text())
    assert result.exit_code == (told["verdict"] == "fail")
    assert f"Audit: {told['verdict']}" in result.stdout
    assert f"Written  {html}" in result.stdout
    assert f"Written  {numbers}" in result.stdout
    about = told["about"]
    assert (about["model"], about["n_cells"], about["seed"]) == ("lucidvi SCVI", 50, 3)
    assert (about["n_batches"], about["n_labels"], about["split"]) == (3, 2, "known")
    assert "Can this model be trusted?" in html.read_text()
    for finding in told["findings"].values():
        assert finding["cure"] in result.stdout  # whole, in a terminal of 80 columns
    assert {path.name for path in tmp_path.iterdir()} == {"new", "report.json"}


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_exit_code(saved, monkeypatch, verdict, code):
    found = Skipped.of(Fit, "")
    object.__setattr__(found.criteria[0], "verdict", verdict)
    monkeypatch.setattr("lucidvi.audit.run", lambda *_, **__: Report({"fit": found}, {}))
    assert run(saved / "model", saved / "cells.h5ad").exit_code == code


def test_a_model_of_scvi_tools(saved, tmp_path):
    theirs = tmp_path / "theirs"
    adata = read_h5ad(saved / "cells.h5ad")
    SCVI.load(str(saved / "model"), adata=adata).to_scvi_model().save(str(theirs))
    result = run(theirs, saved / "cells.h5ad", "--max-cells", 20)
    assert result.exit_code in (0, 1)
    assert "20 of 80 cells x 25 genes" in result.stdout


def test_missing_and_wrong_files(saved, tmp_path):
    model, cells = saved / "model", saved / "cells.h5ad"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.h5ad").write_text("no HDF5")
    refused(tmp_path / "nothing", cells, says="no folder")
    refused(tmp_path / "empty", cells, says="no saved model")
    refused(model, tmp_path / "nothing.h5ad", says="no file")
    refused(model, tmp_path / "empty", says="no file")
    refused(model, tmp_path / "text.h5ad", says=r"text.h5ad is no \.h5ad file")
    (tmp_path / "empty" / "model.pt").write_text("no model")
    refused(tmp_path / "empty", cells, says="model.pt")


def test_cells_of_another_kind(saved, tmp_path, make_adata):
    def refuse(adata, says):
        adata.write_h5ad(tmp_path / "other.h5ad")
        refused(saved / "model", tmp_path / "other.h5ad", says=says)

    adata = make_adata(n_cells=80, n_genes=25)
    refuse(adata[:, :10].copy(), "lacks 15 of the model's 25 genes")
    of_others = adata.copy()
    of_others.obs["batch"] = "another"
    refuse(of_others, "do not suit the model: .*another")
    without = adata.copy()
    del without.obs["batch"]
    refuse(without, "batch_key='batch'")
    halves = adata.copy()
    halves.X = halves.X * np.float32(0.5)
    refuse(halves, "not.* counts")


def test_models_that_scvi_tools_reads_are_read_if_trusted(tmp_path, make_adata):
    adata = make_adata(n_cells=80, n_genes=25)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    scvi.model.LinearSCVI.setup_anndata(adata)
    model = scvi.model.LinearSCVI(adata, n_latent=2)
    model.train(max_epochs=2, enable_progress_bar=False, accelerator="cpu")
    model.save(str(tmp_path / "linear"))
    refused(tmp_path / "linear", tmp_path / "cells.h5ad", says="LinearSCVI, which .*by running")
    result = run(tmp_path / "linear", tmp_path / "cells.h5ad", "--trust")
    assert result.exit_code in (0, 1)
    assert "scvi LinearSCVI" in result.stdout


def test_a_model_of_another_kind(saved, tmp_path, make_adata):
    adata = make_adata()
    scvi.model.CondSCVI.setup_anndata(adata, labels_key="batch")
    scvi.model.CondSCVI(adata, n_latent=2).save(str(tmp_path / "other"))
    for options in ([], ["--trust"]):
        refused(
            tmp_path / "other",
            saved / "cells.h5ad",
            *options,
            says="CondSCVI, which cannot be audited",
        )


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_wrong_suffix_is_refused_before_the_audit(saved, tmp_path, monkeypatch, option):
    monkeypatch.setattr("lucidvi.audit.run", lambda *_, **__: pytest.fail("it was run"))
    file = tmp_path / "report.txt"
    refused(saved / "model", saved / "cells.h5ad", option, file, says="does not end in")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["html", "json"])
def test_a_file_that_cannot_be_written(saved, tmp_path, suffix):
    """The report is printed all the same; nothing is written in part."""
    (tmp_path / "file").touch()
    target = tmp_path / "file" / f"report.{suffix}"
    result = run(saved / "model", saved / "cells.h5ad", f"--{suffix}", target, "--max-cells", 20)
    assert result.exit_code == NO_VERDICT
    assert "Audit: " in result.stdout
    assert "cannot be written" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_states_the_exit_codes():
    text = " ".join(run("--help").stdout.split())
    assert "Exit code: 0 for ok and warn, 1 for fail, 2 for an error." in text


def test_counts_elsewhere(saved, tmp_path):
    """Counts in raw, in another layer, and the option that the error names."""
    cells = read_h5ad(saved / "cells.h5ad")
    cells.raw = cells
    cells.layers["umi"] = cells.X.copy()
    cells.X = np.log1p(cells.X.toarray())
    cells.write_h5ad(tmp_path / "cells.h5ad")
    refused(saved / "model", tmp_path / "cells.h5ad", says="--layer umi or --layer raw")
    told = []
    for place, layer in (
        (saved / "cells.h5ad", ()),
        (tmp_path / "cells.h5ad", ("--layer", "raw")),
        (tmp_path / "cells.h5ad", ("--layer", "umi")),
    ):
        numbers = tmp_path / "report.json"
        result = run(saved / "model", place, "--json", numbers, *layer)
        assert result.exit_code in (0, 1), result.output
        told.append(json.loads(numbers.read_text())["findings"])
    assert told[0] == told[1] == told[2]
    other = ("--layer", "nothing")
    refused(saved / "model", tmp_path / "cells.h5ad", *other, says="layer='nothing'")
