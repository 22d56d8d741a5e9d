"""``lucidvi train``: the circle of counts, model, audit, reference and mapped cells."""

import json
import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
from lightning.pytorch import Callback
from typer.testing import CliRunner

from lucidvi.cli import app
from lucidvi.errors import DataError
from lucidvi.model import MODELS, SCVI

ERROR = 2
QUIET = pytest.mark.filterwarnings("ignore:.*carry information:UserWarning")
pytestmark = [QUIET, pytest.mark.filterwarnings("ignore:.*the posterior collapsed:UserWarning")]


def run(*arguments):
    """Run the command, where nothing may be raised but what sets its exit code."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments, says):
    """Check that there is one error, with a remedy, and nothing else."""
    result = run("train", *arguments)
    assert result.exit_code == ERROR, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("Remedy: ") == 1
    assert re.search(says, result.stderr), result.stderr


@pytest.fixture(scope="module")
def cells(make_adata):
    return make_adata(n_cells=80, n_genes=25)


@pytest.fixture
def data(cells, tmp_path):
    cells.write_h5ad(tmp_path / "my cells.h5ad")
    return tmp_path / "my cells.h5ad"


def test_the_circle(data, cells, tmp_path):
    """Each command names the next ones, which are pasted."""
    keys = ("--batch-key", "batch", "--labels-key", "label")
    options = ("--n-latent", 2, "--max-epochs", 3, "--gene-likelihood", "nb", "--seed", 4)
    result = run("train", data, "-o", tmp_path / "model", *keys, *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"Cells +80 *\nGenes +25 *\nBatches +3 in 'batch' *\n", result.stdout)
    assert re.search(r"Training +3 epochs", result.stdout)
    assert f"Written  {tmp_path / 'model'}" in result.stdout
    audit, build = re.findall(r"lucidvi (.*)", result.stdout.partition("Next: ")[2])

    numbers = tmp_path / "report.json"
    audited = run(*shlex.split(audit), "--json", numbers)
    assert audited.exit_code in (0, 1), audited.output
    about = json.loads(numbers.read_text())["about"]
    assert (about["n_cells"], about["n_batches"], about["n_labels"]) == (80, 3, 2)

    atlas = str(tmp_path / "atlas")
    built = run(*[atlas if word == "REFERENCE" else word for word in shlex.split(build)])
    assert built.exit_code == 0, built.output
    assert re.search(r"Labels +2 in 'label'", built.stdout)

    out = tmp_path / "mapped.h5ad"
    mapped = run("reference", "map", data, "--reference", atlas, "-o", out)
    assert mapped.exit_code == 0, mapped.output
    states = anndata.read_h5ad(out).obsm["X_lucidvi"]
    model = SCVI.load(str(tmp_path / "model"), adata=cells.copy())
    expected = model.get_latent_representation()
    assert states.shape == expected.shape == (80, 2)


def test_it_is_the_model_of_the_same_lines_of_python(data, cells, tmp_path):
    import scvi

    covariates = ("--categorical-covariate", "donor", "--categorical-covariate", "site")
    place = ("-o", tmp_path / "model", "--max-epochs", 2, *covariates)
    result = run("train", data, *place, "--continuous-covariate", "age", "--preset", "scvi")
    assert result.exit_code == 0, result.output
    adata = cells.copy()
    scvi.settings.seed = 0
    keys = {"categorical_covariate_keys": ["donor", "site"], "continuous_covariate_keys": ["age"]}
    SCVI.setup_anndata(adata, **keys)
    model = SCVI(adata)
    model.train(max_epochs=2, preset="scvi")
    loaded = SCVI.load(str(tmp_path / "model"), adata=cells.copy())
    np.testing.assert_array_equal(
        loaded.get_latent_representation(), model.get_latent_representation()
    )
    assert loaded.preset_ == "scvi"


@pytest.mark.parametrize("layer", ["raw", "umi", "X"])
def test_counts_elsewhere(cells, tmp_path, layer):
    """The error names the option; the model trained with it is the one of counts in X."""
    query = cells.copy()
    query.raw = cells
    query.layers["umi"] = cells.X.copy()
    path = tmp_path / "cells.h5ad"
    if layer != "X":
        query.X = np.log1p(query.X.toarray())
        query.write_h5ad(path)
        refused(path, "-o", tmp_path / "model", says="elsewhere: --layer umi or --layer raw")
        assert not (tmp_path / "model").exists()
    query.write_h5ad(path)
    result = run("train", path, "-o", tmp_path / "model", "--layer", layer, "--max-epochs", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.count(f"--layer {layer}") == 2
    audited = run("audit", tmp_path / "model", path, "--layer", layer, "--max-cells", 30)
    assert audited.exit_code in (0, 1), audited.output


def test_nothing_is_replaced_unless_asked(data, tmp_path, monkeypatch):
    place = tmp_path / "model"
    place.mkdir()
    with monkeypatch.context() as before_any_work:
        for cls in MODELS.values():
            before_any_work.setattr(cls, "train", lambda *_, **__: pytest.fail("it was trained"))
        refused(data, "-o", place, says="already exists")
        refused(data, "-o", data, "--overwrite", says="is the data")
    result = run("train", data, "-o", place, "--overwrite", "--max-epochs", 1)
    assert result.exit_code == 0, result.output
    assert SCVI.load_registry(str(place))["model_name"] == "SCVI"


def test_a_place_that_cannot_be_is_refused_before_any_work(data, monkeypatch, tmp_path):
    monkeypatch.setattr("lucidvi.cli._train._trained", lambda *_: pytest.fail("it was trained"))
    refused(data, "-o", data / "model", says="cannot be written: .*h5ad is a file")
    nothing_is_writable = SimpleNamespace(access=lambda *_: False, W_OK=os.W_OK)
    monkeypatch.setattr("lucidvi.cli._files.os", nothing_is_writable)
    refused(data, "-o", tmp_path / "new" / "model", says="is not yours to write to")
    assert [path.name for path in tmp_path.iterdir()] == [data.name]


@pytest.mark.parametrize("command", ["train", "audit"])
def test_a_seed_below_zero_is_refused(data, tmp_path, command):
    options = ("-o", tmp_path / "model") if command == "train" else (data,)
    result = run(command, data, *options, "--seed", -1)
    assert result.exit_code == ERROR
    assert "--seed" in result.stderr


WRONG = {
    "column": (("--batch-key", "batches"), "batch_key='batches'"),
    "likelihood": (("--gene-likelihood", "nbinom"), "`gene_likelihood` is 'nbinom'"),
    "preset": (("--preset", "fast"), "`preset` is 'fast'"),
    "kind": (("--kind", "scvi"), "did you mean kind='SCVI'"),
    "layer": (("--layer", "nothing"), "layer='nothing'"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_write_nothing(data, tmp_path, options, says):
    refused(data, "-o", tmp_path / "model", *options, says=says)
    assert [path.name for path in tmp_path.iterdir()] == [data.name]


def test_missing_files(tmp_path):
    refused(tmp_path / "nothing.h5ad", "-o", tmp_path / "model", says="no file")


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from lucidvi.cli import app\n"
        "for words in (['--help'], ['train', '--help'], ['train'], ['audit', 'x', '--seed', 'y']):"
        "\n    CliRunner().invoke(app, words)\n"
        "assert 'torch' not in sys.modules and 'scvi' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_carry_where_counts_are(cells):
    adata = cells.copy()
    adata.layers["umi"], adata.X = adata.X, np.log1p(adata.X.toarray())
    with pytest.raises(DataError) as error:
        SCVI.setup_anndata(adata)
    assert error.value.counts_in == ("umi",)


class StopAt(Callback):
    """Ctrl-C at the start of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_training_that_is_stopped_writes_nothing(data, tmp_path, monkeypatch, epoch):
    """In a notebook the model is kept as far as it got; a command did not do what was asked."""
    train = SCVI.train
    monkeypatch.setattr(
        SCVI,
        "train",
        lambda self, callbacks, **kw: train(self, callbacks=[*callbacks, StopAt(epoch)], **kw),
    )
    (tmp_path / "model").mkdir()
    place = ("-o", tmp_path / "model", "--overwrite", "--max-epochs", 4)
    result = run("train", data, *place)
    assert result.exit_code == 130, result.output
    assert "Written" not in result.stdout
    assert not list((tmp_path / "model").iterdir())
