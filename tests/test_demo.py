"""The demo writes what it says and measures what it prints."""

import re

import numpy as np
import pytest
from anndata import read_h5ad
from matplotlib import image
from typer.testing import CliRunner

import lucidvi
from lucidvi.cli import app
from lucidvi.demo import run_demo
from lucidvi.model import SCVI


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "new" / "folder", max_epochs=60)


@pytest.mark.slow
def test_it_finds_the_cell_types(result):
    assert (result.n_cells, result.n_genes, result.n_epochs) == (700, 765, 60)
    assert result.ari > 0.4
    assert result.nmi > 0.55
    assert result.seconds > 0


@pytest.mark.slow
def test_files_are_what_the_names_say(result):
    adata = read_h5ad(result.adata)
    assert {"cell_type", "cluster"} <= set(adata.obs)
    model = SCVI.load(str(result.model), adata=adata)
    np.testing.assert_allclose(
        model.get_latent_representation(), adata.obsm["X_scVI"], rtol=1e-4, atol=1e-5
    )
    pixels = image.imread(result.figure)
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20  # not blank


@pytest.mark.slow
def test_the_elbo_is_that_of_the_held_out_cells(result):
    adata = read_h5ad(result.adata)
    model = SCVI.load(str(result.model), adata=adata)
    elbos = [float(model.get_elbo(indices=model.validation_indices)) for _ in range(20)]
    assert abs(result.elbo - np.mean(elbos)) < 6 * np.std(elbos)


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["demo", "--max-epochs", "2"], catch_exceptions=False)
    assert run.exit_code == 0
    assert re.search(r"700 x 765", run.output)
    assert "(2 epochs)" in run.output
    assert "ARI" in run.output
    for name in ("umap.png", "pbmc68k.h5ad", "model"):
        assert f"lucidvi-demo/{name}" in run.output
        assert (tmp_path / "lucidvi-demo" / name).exists()


def test_version_and_help():
    assert lucidvi.__version__ in CliRunner().invoke(app, ["--version"]).output
    assert "demo" in CliRunner().invoke(app, ["--help"]).output
