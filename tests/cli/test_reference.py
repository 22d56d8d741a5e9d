"""``lucidvi reference``: what it prints and writes, and that errors write nothing."""

import re

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lucidvi._compat import write_adata
from lucidvi.atlas import Reference
from lucidvi.cli import app
from lucidvi.model import SCVI

ERROR = 2


def run(*arguments):
    """Run the command, where nothing may be raised but what sets its exit code."""
    result = CliRunner().invoke(app, ["reference", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments, says):
    """Check that there is one error, with a remedy, and nothing else."""
    result = run(*arguments)
    assert result.exit_code == ERROR, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("Remedy: ") == 1
    assert re.search(says, result.stderr), result.stderr


@pytest.fixture(scope="module")
def cells(make_adata):
    return make_adata(n_cells=80, n_genes=25)


@pytest.fixture(scope="module")
def saved(cells, tmp_path_factory):
    """Return a folder with a model, its cells, and the reference that was built of them."""
    folder = tmp_path_factory.mktemp("saved")
    adata = cells.copy()
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=2)
    model.train(max_epochs=2, enable_progress_bar=False, plan_kwargs={"warn_collapse": False})
    model.save(str(folder / "model"))
    cells.write_h5ad(folder / "cells.h5ad")
    options = ("--labels-key", "label", "-o", folder / "atlas")
    result = run("build", folder / "model", folder / "cells.h5ad", *options)
    assert result.exit_code == 0, result.output
    assert f"Written  {folder / 'atlas'}" in result.stdout
    assert re.search(r"Cells +80 *\nGenes +25 *\nLabels +2 in 'label'", result.stdout)
    return folder


@pytest.fixture
def untouched(saved):
    """Check that what was given is as it was."""
    before = {path: path.stat().st_mtime_ns for path in saved.rglob("*")}
    yield
    assert {path: path.stat().st_mtime_ns for path in saved.rglob("*")} == before


@pytest.mark.usefixtures("untouched")
def test_map(saved, cells, tmp_path):
    out = tmp_path / "new" / "out.h5ad"
    query = tmp_path / "query.h5ad"
    cells[:, :20].copy().write_h5ad(query)
    result = run("map", query, "--reference", saved / "atlas", "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    written = anndata.read_h5ad(out)
    expected = Reference.load(saved / "atlas").map(cells[:, :20])
    np.testing.assert_array_equal(written.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])
    assert (written.obs["lucidvi_label"] == expected.obs["lucidvi_label"]).all()
    assert re.search(r"Cells +80 *\nGenes measured +20 of 25", result.stdout)
    share = expected.uns["lucidvi"]["share_of_information"]
    assert re.search(rf"Share of information +{share:.1%}", result.stdout)
    for label, cells_of_it in expected.obs.groupby("lucidvi_label", observed=True):
        mean = cells_of_it["lucidvi_confidence"].mean()
        assert re.search(rf"{label} +{len(cells_of_it)} +{mean:.2f}", result.stdout)
    assert f"Written  {out}" in result.stdout
    assert [path.name for path in out.parent.iterdir()] == ["out.h5ad"]


@pytest.mark.usefixtures("untouched")
def test_map_with_options(saved, cells, tmp_path):
    """Counts in a layer, batches and names in other columns, a batch that is new."""
    query = cells.copy()
    query.layers["counts"], query.X = query.X, np.log1p(query.X)
    query.obs["lane"] = "new"
    query.var["symbol"] = query.var_names
    query.var_names = [f"id{i}" for i in range(25)]
    query.write_h5ad(tmp_path / "query.h5ad")
    place = ("--reference", saved / "atlas", "-o", tmp_path / "out.h5ad")
    names = ("--layer", "counts", "--batch-key", "lane", "--gene-key", "symbol")
    result = run("map", tmp_path / "query.h5ad", *place, *names)
    assert result.exit_code == 0, result.output
    assert re.search(r"New batches +new", result.stdout)
    assert re.search(r'Found by +var\["symbol"\]', result.stdout)
    assert result.stderr == ""
    assert ".py" not in result.stderr  # no place in the code


@pytest.mark.usefixtures("untouched")
def test_nothing_is_replaced_unless_asked(saved, tmp_path, monkeypatch):
    out = tmp_path / "out.h5ad"
    out.write_text("mine")
    given = ("map", saved / "cells.h5ad", "--reference", saved / "atlas")
    build = ("build", saved / "model", saved / "cells.h5ad", "--labels-key", "label", "-o")
    with monkeypatch.context() as before_any_work:
        before_any_work.setattr(Reference, "load", lambda _: pytest.fail("it was read"))
        before_any_work.setattr(SCVI, "load", lambda *_, **__: pytest.fail("it was read"))
        refused(*given, "-o", out, says="already exists")
        refused(*given, "-o", saved / "cells.h5ad", "--overwrite", says="is the query")
        refused(*given, "-o", tmp_path / "out.txt", says="does not end in .h5ad")
        refused(*build, saved / "atlas", says="already exists")
        refused(*build, saved / "model", "--overwrite", says="is the folder of the model")
    assert out.read_text() == "mine"
    assert run(*given, "-o", out, "--overwrite").exit_code == 0
    assert anndata.read_h5ad(out).n_obs == 80


def normalised(query):
    query.X = np.log1p(query.X)


def not_a_number(query):
    query.X = query.X.toarray() if hasattr(query.X, "toarray") else query.X
    query.X[3, 4] = np.nan


def of_others(query):
    query.var_names = [f"x{name}" for name in query.var_names]


def without_batch(query):
    del query.obs["batch"]


def with_hole(query):
    query.obs["batch"] = query.obs["batch"].astype(object).where(np.arange(80) != 3)


WRONG = {
    "normalised": (normalised, "does not hold counts"),
    "NaN": (not_a_number, "NaN or infinite"),
    "no gene in common": (of_others, "none of the model's 25 genes"),
    "no batch": (without_batch, "query.obs has no column 'batch'"),
    "NaN batch": (with_hole, r"query.obs\[\"batch\"\] is missing"),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_wrong_queries_write_nothing(saved, cells, tmp_path, change, says):
    query = cells.copy()
    change(query)
    query.write_h5ad(tmp_path / "query.h5ad")
    out = tmp_path / "folder" / "out.h5ad"
    refused("map", tmp_path / "query.h5ad", "--reference", saved / "atlas", "-o", out, says=says)
    assert [path.name for path in tmp_path.iterdir()] == ["query.h5ad"]


@pytest.mark.usefixtures("untouched")
def test_missing_and_wrong_files(saved, tmp_path):
    (tmp_path / "text.h5ad").write_text("no HDF5")
    to = ("-o", tmp_path / "out.h5ad", "--reference")
    refused("map", tmp_path / "nothing.h5ad", *to, saved / "atlas", says="no file")
    refused("map", tmp_path / "text.h5ad", *to, saved / "atlas", says=r"is no \.h5ad file")
    refused("map", saved / "cells.h5ad", *to, saved / "model", says="no reference at")
    refused("map", saved / "cells.h5ad", *to, tmp_path / "nothing", says="no reference at")
    build = ("-o", tmp_path / "atlas", "--labels-key", "nothing")
    refused("build", saved / "model", saved / "cells.h5ad", *build, says="labels_key='nothing'")
    refused("build", tmp_path, saved / "cells.h5ad", *build, says="no saved model")
    assert [path.name for path in tmp_path.iterdir()] == ["text.h5ad"]


def test_a_file_that_cannot_be_written(saved, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out.h5ad"
    refused(
        *("map", saved / "cells.h5ad", "--reference", saved / "atlas", "-o", out),
        says="cannot be written",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- real files: counts elsewhere, layouts of old, text of newer versions -------------------------


def log_normalised(x):
    x = x.toarray()
    return np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))


@pytest.fixture
def with_raw(cells):
    """Return cells as CELLxGENE asks: logarithms of some genes in X, counts of all in raw."""
    query = cells.copy()
    query.raw = cells
    query = query[:, :20].copy()
    query.X = log_normalised(query.X)
    return query


def mapped(saved, out, query, *options):
    result = run("map", query, "--reference", saved / "atlas", "-o", out, *options)
    assert result.exit_code == 0, result.output
    return anndata.read_h5ad(out)


def test_map_names_raw_and_reads_it(saved, cells, with_raw, tmp_path):
    with_raw.write_h5ad(tmp_path / "query.h5ad")
    out = ("--reference", saved / "atlas", "-o", tmp_path / "out.h5ad")
    refused(
        *("map", tmp_path / "query.h5ad", *out),
        says=r"Remedy: The counts are elsewhere: --layer raw\.$",
    )
    written = mapped(saved, tmp_path / "out.h5ad", tmp_path / "query.h5ad", "--layer", "raw")
    expected = Reference.load(saved / "atlas").map(cells)
    np.testing.assert_array_equal(written.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])
    assert written.uns["lucidvi"]["n_genes_measured"] == 25
    in_memory = Reference.load(saved / "atlas").map(with_raw, layer="raw")
    np.testing.assert_array_equal(in_memory.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])
    backed = anndata.read_h5ad(tmp_path / "query.h5ad", backed="r")
    on_disk = Reference.load(saved / "atlas").map(backed, layer="raw")
    np.testing.assert_array_equal(on_disk.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])


def test_raw_without_counts_is_refused(saved, with_raw, tmp_path):
    with_raw.raw = with_raw
    with_raw.write_h5ad(tmp_path / "query.h5ad")
    out = ("--reference", saved / "atlas", "-o", tmp_path / "out.h5ad")
    refused(
        "map", tmp_path / "query.h5ad", *out, "--layer", "raw", says="query.raw.X does not hold"
    )


def test_map_names_the_layer_and_x(saved, cells, tmp_path):
    query = cells.copy()
    query.layers["my counts"], query.X = query.X, log_normalised(query.X)
    query.layers["log"] = query.X
    query.write_h5ad(tmp_path / "query.h5ad")
    out = ("--reference", saved / "atlas", "-o", tmp_path / "out.h5ad")
    refused("map", tmp_path / "query.h5ad", *out, says=r"elsewhere: --layer 'my counts'\.$")
    query.X = query.layers.pop("my counts")
    query.write_h5ad(tmp_path / "query.h5ad")
    refused("map", tmp_path / "query.h5ad", *out, "--layer", "log", says=r"--layer X\.$")
    written = mapped(saved, tmp_path / "out.h5ad", tmp_path / "query.h5ad", "--layer", "X")
    expected = Reference.load(saved / "atlas").map(cells)
    np.testing.assert_array_equal(written.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])


def test_build_reads_counts_where_they_are(saved, with_raw, tmp_path):
    with_raw.write_h5ad(tmp_path / "cells.h5ad")
    given = ("build", saved / "model", tmp_path / "cells.h5ad", "--labels-key", "label", "-o")
    refused(*given, tmp_path / "atlas", says="lacks 5 of the model's 25 genes")
    result = run(*given, tmp_path / "atlas", "--layer", "raw")
    assert result.exit_code == 0, result.output
    built, expected = (Reference.load(path / "atlas") for path in (tmp_path, saved))
    np.testing.assert_allclose(built.data.posteriors.loc, expected.data.posteriors.loc, atol=1e-6)


def write_as_of_old(cells, path):
    """Write a file as anndata before 0.7 did, its tables in one data set each."""
    codes = cells.obs["batch"].cat.codes.to_numpy()
    with h5py.File(path, "w") as file:
        file["X"] = cells.X.toarray()
        obs = list(zip(cells.obs_names.str.encode("utf-8"), codes, strict=True))
        file["obs"] = np.array(obs, dtype=[("index", "S12"), ("batch", "i1")])
        file["var"] = np.array(
            [(name.encode(),) for name in cells.var_names], dtype=[("index", "S12")]
        )
        file["uns/batch_categories"] = np.array(list(cells.obs["batch"].cat.categories), "S2")


@pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")
@pytest.mark.filterwarnings("ignore:.* was written with a very old version of AnnData")
def test_a_file_in_a_layout_of_old(saved, cells, tmp_path):
    write_as_of_old(cells, tmp_path / "old.h5ad")
    written = mapped(saved, tmp_path / "out.h5ad", tmp_path / "old.h5ad")
    expected = Reference.load(saved / "atlas").map(cells)
    np.testing.assert_array_equal(written.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])


def test_text_that_can_be_missing_is_written(saved, cells, tmp_path):
    """As anndata 0.13 writes text, and reads it under any version."""
    query = cells.copy()
    query.obs["note"] = pd.array(["a", None, *map(str, range(78))], dtype="string")
    query.var["note"] = pd.array([None, *map(str, range(24))], dtype="string")
    query.uns["nothing"] = None
    write_adata(query, str(tmp_path / "query.h5ad"))
    written = mapped(saved, tmp_path / "out.h5ad", tmp_path / "query.h5ad")
    assert list(written.obs["note"].isna()) == [False, True, *[False] * 78]
    assert written.var["note"].tolist()[1:] == [str(i) for i in range(24)]
    again = anndata.read_h5ad(tmp_path / "query.h5ad")
    SCVI.setup_anndata(again, batch_key="batch")
    SCVI(again, n_latent=2).save(str(tmp_path / "model"), save_anndata=True)
    assert SCVI.load(str(tmp_path / "model")).adata.obs["note"].isna().sum() == 1
