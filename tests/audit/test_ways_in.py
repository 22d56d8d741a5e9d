"""Models and cells as they come: not trained, in files, in layers, replaced, with any names."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi

from lucidvi import audit
from lucidvi.audit.retraining._stability import two_groups
from lucidvi.audit.subject._sample import MISSING, draw_sample, text
from lucidvi.errors import DataError
from lucidvi.model import SCVI

CHECKS = ["collapse", "identifiability", "amortization", "fit", "confounding"]


def trained(adata, cls=SCVI, setup=None, **kwargs):
    cls.setup_anndata(adata, **(setup or {}))
    model = cls(adata, **({"n_latent": 2} | kwargs))
    quiet = {"plan_kwargs": {"warn_collapse": False}} if cls is SCVI else {}
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, **quiet)
    return model


def run(model, adata=None, checks=("confounding",), **kwargs):
    return audit.run(model, adata, checks=checks, **kwargs)


def verdicts(report):
    return {
        (name, criterion.name): (criterion.verdict, pytest.approx(criterion.value, nan_ok=True))
        for name, finding in report.items()
        for criterion in finding.criteria
    }


# -- not trained ------------------------------------------------------------------------------


def untrained(kind, adata):
    if kind is scvi.model.SCANVI:
        kind.setup_anndata(adata, labels_key="label", unlabeled_category="?")
    else:
        kind.setup_anndata(adata)
    return kind(adata, n_latent=2)


KINDS = [SCVI, scvi.model.SCVI, scvi.model.LinearSCVI, scvi.model.SCANVI]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_not_trained_is_refused_at_once(kind, make_adata, monkeypatch):
    model = untrained(kind, make_adata())
    monkeypatch.setattr(kind, "_validate_anndata", None)  # nothing is looked at before
    for ask in (
        lambda: audit.run(model),
        *(lambda check=check: audit.run(model, checks=[check]) for check in CHECKS),
        lambda: audit.stability(model),
        lambda: audit.stability(model, train_kwargs={"max_epochs": 1}),
    ):
        with pytest.raises(DataError, match="is not trained") as raised:
            ask()
        assert "`model.train()`" in raised.value.remedy


def test_the_remedy_of_a_model_that_is_not_trained(make_adata, monkeypatch):
    model = untrained(SCVI, make_adata())
    with pytest.raises(DataError) as raised:
        audit.run(model)
    train = SCVI.train
    monkeypatch.setattr(SCVI, "train", lambda self: train(self, 1, enable_progress_bar=False))
    exec(raised.value.remedy.split("`")[1], {"model": model})
    assert run(model).verdict


# -- cells in files, in layers, and none ------------------------------------------------------


@pytest.mark.parametrize("layer", [None, "counts"])
def test_cells_in_a_file(make_adata, tmp_path, layer):
    """They give what they give in memory, to the last digit."""
    adata = make_adata(n_cells=80)
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    model = trained(adata, setup={"layer": layer, "batch_key": "batch"})
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    here, there = (run(model, cells, CHECKS) for cells in (None, backed))
    assert verdicts(there) == verdicts(here)
    assert there.about["split"] == here.about["split"] == "known"
    again = trained(backed, setup={"layer": layer, "batch_key": "batch"})
    assert run(again, checks=CHECKS).about["n_cells"] == 80


def test_counts_are_those_of_the_layer(make_adata):
    adata = make_adata(n_cells=120)
    adata.layers["counts"], adata.X = adata.X, adata.X * 0 + 0.5 * (adata.X > 0)
    fit = run(trained(adata, setup={"layer": "counts"}), checks=["fit"])["fit"]
    assert np.isin(
        fit.cells["library_observed"], np.ravel(adata.layers["counts"].sum(axis=1))
    ).all()


def test_a_model_without_cells(make_adata, tmp_path):
    adata = make_adata(n_cells=60)
    trained(adata).save(tmp_path / "model")
    model = SCVI.load(tmp_path / "model", adata=False)
    for ask in (audit.run, audit.stability):
        with pytest.raises(DataError, match="holds no cells") as raised:
            ask(model)
    names = {"audit": audit, "model": model, "adata": adata}
    exec(raised.value.remedy.split("`")[1], names)


def test_posteriors_in_the_place_of_counts(make_adata):
    model = trained(make_adata(n_cells=60))
    model.adata.obsm["m"], model.adata.obsm["v"] = model.get_latent_representation(
        return_dist=True
    )
    model.minify_adata(use_latent_qzm_key="m", use_latent_qzv_key="v")
    for ask in (audit.run, audit.stability):
        with pytest.raises(DataError, match="minified"):
            ask(model)


def test_refined_cells_are_audited_as_the_encoder_sees_them(make_adata):
    """The encoder is judged, whatever posteriors the model was bound to since."""
    adata = make_adata(n_cells=120)
    model = trained(adata)
    before = run(model, checks=["collapse", "amortization"])
    model.adata = model.refine_posterior().to_adata(adata)
    after = run(model, checks=["collapse", "amortization"])
    assert verdicts(after) == verdicts(before)
    assert after.about["split"] == "known"


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_values_that_are_not_counts(make_adata, likelihood):
    adata = make_adata(n_cells=120)
    adata.X = np.log1p(adata.X.toarray())
    model = trained(adata, setup={"is_count_data": False}, gene_likelihood=likelihood)
    report = run(model, checks=CHECKS)
    assert list(report) == CHECKS
    zeros = next(c for c in report["fit"].criteria if c.name == "zeros")
    assert (zeros.verdict == "skipped") == (likelihood == "normal")
    assert "is_count_data=False" in report["collapse"].cure + report["fit"].cure


# -- names of cells ---------------------------------------------------------------------------


def sample_of(model, adata):
    adata = model._validate_anndata(adata)
    rng = np.random.default_rng(0)
    return draw_sample(model, adata, None, None, 5000, rng)


@pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")
def test_repeated_names_of_cells(make_adata):
    """Positions count, so the held-out cells are those of the training."""
    adata = make_adata(n_cells=120)
    adata.obs_names = [f"cell{i % 7}" for i in range(120)]
    model = trained(adata)
    for cells in (adata, adata.copy()):
        sample = sample_of(model, cells)
        assert sample.split == "known"
        np.testing.assert_array_equal(
            np.flatnonzero(sample.held_out), np.sort(model.validation_indices)
        )
    assert sample_of(model, adata[::-1].copy()).split == "unknown"
    report = run(model, checks=CHECKS)
    assert len(report["amortization"].cells) == 12


def test_other_cells_of_the_same_names(make_adata):
    """Names that are numbers from zero, as many files have: the counts tell them apart."""
    adata, others = (make_adata(n_cells=120, seed=seed) for seed in (0, 1))
    for cells in (adata, others):
        cells.obs_names = [str(i) for i in range(120)]
    model = trained(adata)
    assert sample_of(model, adata.copy()).split == "known"
    assert sample_of(model, others).split == "unknown"


# -- columns of any type ----------------------------------------------------------------------

COLUMNS = {
    "bool": np.arange(120) % 2 == 0,
    "integer": np.arange(120) % 3,
    "float": np.arange(120) % 3 * 1.0,
    "object": np.array(["a", "b"], dtype=object)[np.arange(120) % 2],
    "categories": pd.Categorical(np.arange(120) % 3),
    "Int64": pd.array(np.arange(120) % 3, dtype="Int64"),
    "boolean": pd.array(np.arange(120) % 2 == 0, dtype="boolean"),
    "string": pd.array(np.array(["a", "b"])[np.arange(120) % 2], dtype="string"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_batches_and_labels_of_any_type(make_adata, name):
    adata = make_adata(n_cells=120)
    adata.obs["column"] = COLUMNS[name]
    n = pd.Series(COLUMNS[name]).nunique()
    told = run(trained(adata, setup={"batch_key": "column", "labels_key": "column"}))
    assert told.about["n_batches"] == told.about["n_labels"] == n
    named = run(trained(make_adata(n_cells=120)), adata, batch_key="column", labels_key="column")
    assert named.about["n_batches"] == named.about["n_labels"] == n


GAPS = {
    "object": np.array(["a", np.nan, "b", None], dtype=object)[np.arange(120) % 4],
    "categories": pd.Categorical(np.array(["a", None, "b"], dtype=object)[np.arange(120) % 3]),
    "float": np.where(np.arange(120) % 3 == 0, np.nan, np.arange(120) % 3),
    "Int64": pd.array([1, None, 2] * 40, dtype="Int64"),
    "boolean": pd.array([True, None, False] * 40, dtype="boolean"),
    "string": pd.array(["a", None, "b"] * 40, dtype="string"),
}


@pytest.mark.parametrize("name", GAPS)
def test_missing_values_are_a_name_of_their_own(make_adata, name):
    column = pd.Series(GAPS[name])
    names = text(column)
    np.testing.assert_array_equal(names == MISSING, column.isna())
    assert len(np.unique(names)) == 3
    adata = make_adata(n_cells=120)
    adata.obs["column"] = GAPS[name]
    report = run(
        trained(adata),
        checks=["amortization", "confounding"],
        labels_key="column",
        batch_key="column",
    )
    assert report.about["n_labels"] == 3
    group = next(c for c in report["amortization"].criteria if c.name == "group")
    assert MISSING not in group.statement


def test_cells_without_a_label_are_no_group():
    class Clusters:
        clusters = np.zeros(9, dtype=int)

    label = np.array([MISSING] * 5 + ["T"] * 3 + ["B"])
    assert two_groups(label, Clusters())[0] == ("T", "B")
    label = np.array([MISSING] * 5 + ["T"] * 4)
    assert two_groups(label, Clusters()) == ((), ())
