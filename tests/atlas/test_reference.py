"""A reference comes back from its folder as it was, without the data and without code."""

import itertools
import json
import os
import pickletools
import shutil
import signal
import warnings
import zipfile
from dataclasses import replace
from functools import partial

import anndata
import numpy as np
import pytest
import scvi
import torch
from scvi.model import SCVI as TheirSCVI

from lucidvi.atlas import Reference
from lucidvi.errors import DataError, FileError, MissingKeyError, ModelTypeError
from lucidvi.files import newest
from lucidvi.model import SCVI


def test_holds_the_models_posteriors_and_labels(model, reference):
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_array_equal(reference.data.posteriors.loc, mean)
    np.testing.assert_allclose(reference.data.posteriors.scale**2, variance, rtol=1e-6)
    assert (np.asarray(reference.labels) == model.adata.obs["cell_type"].to_numpy()).all()
    assert (np.asarray(reference.batches) == model.adata.obs["batch"].to_numpy()).all()
    for column in (reference.labels, reference.batches):
        assert list(column.index) == list(model.adata.obs_names)
    assert reference.cells.X is None
    assert reference.model.adata is None
    assert "300 cells, 60 genes, 3 labels" in repr(reference)


def test_the_users_model_is_left_alone(model, simulate):
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    adata = model.adata.copy()
    state = torch.random.get_rng_state()
    Reference.from_model(model)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.module.state_dict().items())
    assert model.adata.obs.equals(adata.obs)
    assert list(model.adata.obsm) == list(adata.obsm)


def test_round_trip(reference, query, tmp_path):
    reference.save(tmp_path / "atlas")
    loaded = Reference.load(tmp_path / "atlas")
    np.testing.assert_array_equal(loaded.data.posteriors.loc, reference.data.posteriors.loc)
    np.testing.assert_array_equal(loaded.data.posteriors.scale, reference.data.posteriors.scale)
    assert loaded.cells.obs.equals(reference.cells.obs)
    assert loaded.cells.var.equals(reference.cells.var)
    before, after = reference.map(query), loaded.map(query)
    for key in ("X_lucidvi", "X_lucidvi_scale"):
        np.testing.assert_array_equal(before.obsm[key], after.obsm[key])
    assert before.obs.equals(after.obs)


def test_loads_without_the_data(simulate, tmp_path):
    adata = simulate(80)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=16, n_latent=3)
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    Reference.from_model(model).save(tmp_path / "atlas")
    loc = model.get_latent_representation()
    del adata, model
    loaded = Reference.load(tmp_path / "atlas")
    np.testing.assert_array_equal(loaded.data.posteriors.loc, loc)
    assert loaded.map(simulate(5, seed=3)).n_obs == 5


def test_no_file_holds_code(reference, tmp_path):
    reference.save(tmp_path / "atlas")
    names = {file.name for file in (tmp_path / "atlas").iterdir()}
    assert names == {"model.pt", "cells.h5ad", "reference.json", "README.md"}
    assert (tmp_path / "atlas" / "cells.h5ad").read_bytes().startswith(b"\x89HDF")
    with zipfile.ZipFile(tmp_path / "atlas" / "model.pt") as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pkl"))
        opcodes = pickletools.genops(archive.read(name))
        called = {argument for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
    packages = {str(name).partition(" ")[0].partition(".")[0] for name in called}
    assert packages <= {"torch", "collections", "numpy", "_codecs"}, called


def test_card_and_size(reference, tmp_path):
    reference.save(tmp_path / "atlas")
    card = (tmp_path / "atlas" / "README.md").read_text()
    counts = reference.labels.value_counts()
    for text in ("300 cells, 60 genes", f"| NK | {counts['NK']} |", "| lane1 |", scvi.__version__):
        assert text in card
    posterior = 2 * 4 * 4  # means and standard deviations, four dimensions of four bytes
    name = np.mean([len(name) for name in reference.cells.obs_names])
    assert reference.n_bytes_per_cell == pytest.approx(posterior + name + 2)  # label and batch
    assert f"{reference.n_bytes_per_cell:.1f} bytes a cell" in card


def test_saving_replaces_only_when_asked(reference, tmp_path):
    folder = tmp_path / "atlas"
    reference.save(folder)
    with pytest.raises(FileError, match="already exists"):
        reference.save(folder)
    (folder / "notes.txt").write_text("mine")
    reference.save(folder, overwrite=True)
    assert Reference.load(folder).cells.n_obs == 300
    assert (folder / "notes.txt").read_text() == "mine"


def test_nothing_is_left_of_a_save_that_fails(reference, tmp_path, monkeypatch):
    def fail(facts):
        raise OSError("disk full")

    monkeypatch.setattr("lucidvi.atlas._folder.card", fail)
    with pytest.raises(OSError, match="disk full"):
        reference.save(tmp_path / "atlas")
    assert list(tmp_path.iterdir()) == []


def killed_at(point, save):
    """Save in a process that is killed before one of its changes to folders; tell if it was."""

    def dying(real):
        def call(*args, **kwargs):
            if next(count) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    with warnings.catch_warnings():
        # Python warns of threads that hold locks; the child uses none but this one.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        count = itertools.count()
        for name in ("replace", "mkdir", "rmdir"):
            setattr(os, name, dying(getattr(os, name)))
        try:
            save()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_point_leaves_one_of_the_two(reference, tmp_path):
    """The old reference has 300 cells and the new one 100; files of both would not fit."""
    fewer = replace(reference.data, cells=reference.cells[:100].copy())
    new = replace(reference, data=fewer)
    reference.save(tmp_path / "old")
    folders = []
    for point in range(99):
        folders.append(shutil.copytree(tmp_path / "old", tmp_path / str(point)))
        if not killed_at(point, partial(new.save, folders[-1], overwrite=True)):
            break
    assert 5 < len(folders) < 99

    def n_cells(folder):
        loaded = Reference.load(folder)
        facts = json.loads(newest(folder / "reference.json", "model.pt").read_text())
        assert loaded.cells.n_obs == facts["n_cells"] == len(loaded.data.posteriors.loc)
        return loaded.cells.n_obs

    seen = [n_cells(folder) for folder in folders]
    assert set(seen) == {300, 100}
    assert seen == sorted(seen, reverse=True)  # first the old one, then for good the new one


def test_mapping_leaves_the_files_alone(reference, query, tmp_path):
    def contents():
        files = sorted((tmp_path / "atlas").iterdir())
        return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}

    reference.save(tmp_path / "atlas")
    before = contents()
    loaded = Reference.load(tmp_path / "atlas")
    loaded.map(query)
    loaded.map(query[:, :30])
    assert contents() == before
    np.testing.assert_array_equal(
        Reference.load(tmp_path / "atlas").data.posteriors.loc, reference.data.posteriors.loc
    )


def test_other_folders_are_refused(reference, tmp_path):
    with pytest.raises(FileError, match=r"reference\.json is missing"):
        Reference.load(tmp_path)
    reference.save(tmp_path / "atlas")
    facts = tmp_path / "atlas" / "reference.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"layout": 99}))
    with pytest.raises(FileError, match="layout 99"):
        Reference.load(tmp_path / "atlas")
    shutil.copy(facts, tmp_path)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("cells.h5ad", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("reference.json", lambda content: content.replace(b'"layout": 3', b'"layout": 2')),
        ("reference.json", lambda content: content.replace(b"cell_type", b"cell_typf")),
        ("model.pt", lambda content: content[:3000] + bytes([content[3000] ^ 4]) + content[3001:]),
    ],
)
def test_a_changed_bit_of_any_file_is_found(reference, tmp_path, file, change):
    reference.save(tmp_path / "r")
    path = tmp_path / "r" / file
    content = path.read_bytes()
    path.write_bytes(change(content))
    assert path.read_bytes() != content
    with pytest.raises(FileError, match=file.replace(".", r"\.")):
        Reference.load(tmp_path / "r")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda cells: cells.obsm["X_lucidvi"].__setitem__((0, 0), np.nan), "NaN or infinite"),
        (lambda cells: cells.obsm["X_lucidvi_scale"].__setitem__((0, 0), -1), "not positive"),
        (lambda cells: cells.obsm.update(X_lucidvi=np.ones((cells.n_obs, 2))), "another shape"),
        (lambda cells: cells.obsm.pop("X_lucidvi"), "KeyError"),
        (lambda cells: cells.uns.update(lucidvi_depth=-1.0), "median total count"),
        (lambda cells: cells.var.__setitem__("lucidvi_information", np.nan), "weights of genes"),
        (lambda cells: cells.uns["lucidvi_calibration"]["settings"].clear(), "no calibration"),
        (
            lambda cells: cells.uns["lucidvi_calibration"]["settings"]["0"].update(power=np.nan),
            "calibration",
        ),
        (lambda cells: cells.obs.__setitem__("batch", "other"), "batches that the model does not"),
    ],
)
def test_cells_that_fit_nothing_are_refused(reference, tmp_path, change, says):
    """Also in a folder of an older version, which has no digests."""
    reference.save(tmp_path / "r")
    cells = anndata.read_h5ad(tmp_path / "r" / "cells.h5ad")
    change(cells)
    cells.strings_to_categoricals()
    cells.write_h5ad(tmp_path / "r" / "cells.h5ad")
    facts = json.loads((tmp_path / "r" / "reference.json").read_text())
    assert set(facts.pop("sha256")) == {"cells.h5ad", "reference.json"}
    (tmp_path / "r" / "reference.json").write_text(json.dumps(facts))
    with pytest.raises(FileError, match=says):
        Reference.load(tmp_path / "r")


@pytest.mark.parametrize("text", ["", "[" * 100_000, "1" * 5_000, "null", "[]", '{"sha256": 3}'])
def test_facts_that_are_none(reference, tmp_path, text):
    reference.save(tmp_path / "r")
    (tmp_path / "r" / "reference.json").write_text(text)
    with pytest.raises(FileError, match=r"reference\.json"):
        Reference.load(tmp_path / "r")


def test_a_model_of_scvi_tools(model, reference, query):
    theirs = model.to_scvi_model()
    assert isinstance(theirs, TheirSCVI)
    of_theirs = Reference.from_model(theirs)
    np.testing.assert_array_equal(of_theirs.data.posteriors.loc, reference.data.posteriors.loc)
    found, expected = of_theirs.map(query), reference.map(query)
    np.testing.assert_array_equal(found.obsm["X_lucidvi"], expected.obsm["X_lucidvi"])


def test_what_no_reference_can_be_made_of(model, simulate):
    with pytest.raises(MissingKeyError, match="celltype"):
        Reference.from_model(model, labels_key="celltype")
    with pytest.raises(ModelTypeError, match="DataFrame"):
        Reference.from_model(model.adata.obs)
    adata = simulate(30)
    SCVI.setup_anndata(adata)
    with pytest.raises(DataError, match="not been trained"):
        Reference.from_model(SCVI(adata))
    normal = SCVI(adata, gene_likelihood="normal")
    normal.is_trained_ = True
    with pytest.raises(ModelTypeError, match="normal"):
        Reference.from_model(normal)
    adata.obs["cell_type"] = adata.obs["cell_type"].where(adata.obs["cell_type"] != "B")
    untyped = SCVI(adata)
    untyped.is_trained_ = True
    with pytest.raises(DataError, match="missing"):
        Reference.from_model(untyped)


def test_genes_weigh_as_much_as_they_say(reference, model):
    """Against the mutual information of a simulation: cells drawn, then genes of their counts."""
    weights = reference.cells.var
    assert (weights >= 0).all(axis=None)
    np.testing.assert_allclose(weights.sum(), 1)
    observed = np.asarray(model.adata.X.mean(axis=0)).ravel()
    assert np.corrcoef(weights["lucidvi_expression"], observed)[0, 1] > 0.98
    kinds = model.adata.obs["cell_type"].to_numpy()
    rows = np.stack([np.ravel(model.adata.X[kinds == k].mean(axis=0)) for k in ("B", "NK", "T")])
    rows /= rows.sum(axis=1, keepdims=True)
    joint = (rows * np.bincount(reference.labels.cat.codes)[:, None]) / 300
    margin = joint.sum(axis=0)
    nats = (joint * np.log(rows / margin)).sum(axis=0)
    assert np.corrcoef(weights["lucidvi_information"], nats)[0, 1] > 0.9


def test_a_scanvi(model, query):
    scanvi = scvi.model.SCANVI.from_scvi_model(
        model.to_scvi_model(), unlabeled_category="none", labels_key="cell_type"
    )
    scanvi.train(max_epochs=2)
    reference = Reference.from_model(scanvi)
    np.testing.assert_allclose(
        reference.data.posteriors.loc, scanvi.get_latent_representation(), rtol=1e-5
    )
    assert "none" not in reference.labels.cat.categories
    out = reference.map(query)
    right = out.obs["lucidvi_label"].astype(str) == query.obs["cell_type"].astype(str)
    assert right.mean() > 0.9
