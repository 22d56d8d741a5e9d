"""Whole audits: healthy models, planted faults, and models of every kind."""

import copy
import json

import anndata
import numpy as np
import pytest
import scvi.model
import torch
from scipy.stats import ortho_group

from lucidvi import audit
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError
from lucidvi.model import SCVI

NAMES = ["collapse", "identifiability", "amortization", "fit", "confounding"]
LABEL = {"labels_key": "label"}


def run(model, adata=None, **kwargs):
    report = audit.run(model, adata, **kwargs)
    for finding in report.values():
        compile(finding.cure, finding.name, "exec")  # code to paste has to be code
    return report


def verdicts(finding):
    return {criterion.name: criterion.verdict for criterion in finding.criteria}


@pytest.fixture(scope="session")
def report(healthy):
    """Return the audit of the healthy model."""
    return run(healthy)


def test_healthy(report):
    assert list(report) == NAMES
    said = {name: verdicts(finding) for name, finding in report.items()}
    assert report.verdict in ("ok", "warn"), said
    assert report["collapse"].verdict == "ok", said
    assert 4 <= report["collapse"].active_units <= 6
    assert report["fit"].verdict == "ok", said
    assert report["confounding"].verdict == "ok", said


def test_report_holds_what_plots_need(report, healthy):
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(told["findings"]) == set(NAMES)
    fit = report["fit"]
    assert tuple(fit.genes.index) == tuple(healthy.adata.var_names)
    for name in ("mean_observed", "mean_predicted", "zeros_predicted", "variance_predicted", "ks"):
        assert fit.genes[name].shape == (150,)
    assert fit.n_cells == len(fit.cells["library_observed"]) == 120
    cells = report["amortization"].cells
    held_out = set(healthy.adata.obs_names[healthy.validation_indices])
    assert set(cells.index) <= held_out
    assert set(fit.cells.index) <= held_out
    assert len(cells.index) == len(cells["neighbours_changed"]) == len(cells["label"]) == 120
    assert (healthy.adata.obs["label"][cells.index] == cells["label"]).all()
    assert {group.by for group in report["amortization"].groups} == {"label", "batch"}
    assert report["collapse"].directions.shape == (10, 10)
    assert report.about["split"] == "known"
    assert report.about["n_held_out"] == 120
    for name in NAMES:
        assert f"{name}" in str(report)


def test_observed_numbers_are_those_of_the_held_out_cells(report, healthy):
    x = healthy.adata[np.sort(healthy.validation_indices)].X.toarray()
    fit = report["fit"]
    np.testing.assert_allclose(fit.genes["mean_observed"], x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(fit.genes["variance_observed"], x.var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(fit.genes["zeros_observed"], (x == 0).mean(axis=0))
    np.testing.assert_allclose(fit.cells["library_observed"], x.sum(axis=1))
    np.testing.assert_allclose(fit.cells["cv_observed"], x.std(axis=1) / x.mean(axis=1), rtol=1e-3)
    # A replicate of the right model has about the same.
    np.testing.assert_allclose(fit.genes["mean_predicted"].sum(), x.mean(axis=0).sum(), rtol=0.01)
    assert np.corrcoef(fit.cells["library_predicted"], fit.cells["library_observed"])[0, 1] > 0.8


def test_nothing_is_disturbed(healthy):
    before = {name: value.clone() for name, value in healthy.module.state_dict().items()}
    obs, adata = list(healthy.adata.obs), healthy.adata
    healthy.module.train()
    healthy.module.decoder.eval()
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    run(healthy, checks=["collapse", "confounding"], max_cells=200)
    drawn = np.random.rand(), torch.rand(())  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    assert drawn == (np.random.rand(), torch.rand(()))  # noqa: NPY002
    assert healthy.module.training
    assert not healthy.module.decoder.training
    healthy.module.eval()
    assert all((before[k] == v).all() for k, v in healthy.module.state_dict().items())
    assert list(healthy.adata.obs) == obs
    assert healthy.adata is adata


def test_one_seed_gives_one_report(healthy):
    kwargs = {"checks": ["confounding", "collapse"], "max_cells": 300}
    first, again, other = (run(healthy, seed=s, **kwargs) for s in (1, 1, 2))
    assert list(first) == ["confounding", "collapse"]
    assert first["collapse"].to_dict() == again["collapse"].to_dict()
    assert first["confounding"].to_dict() == again["confounding"].to_dict()
    assert first["collapse"].to_dict() != other["collapse"].to_dict()


# -- planted faults ---------------------------------------------------------------------------


def test_decoder_that_ignores_z(healthy):
    model = copy.deepcopy(healthy)
    with torch.no_grad():
        model.module.decoder.px_decoder.fc_layers[0][0].weight[:, :10] = 0
    report = run(model)
    assert report["collapse"].verdict == report.verdict == "fail"
    assert report["collapse"].active_units == 0


def test_encoder_that_was_trained_too_briefly(healthy):
    model = copy.deepcopy(healthy)
    torch.manual_seed(1)
    for layer in model.module.z_encoder.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(model.module.z_encoder.parameters(), lr=1e-3)
    model.module.train()
    for tensors in model._make_data_loader(model.adata, model.train_indices, batch_size=128):
        loss = model.module(tensors)[2].loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.eval()
    found = run(model, checks=["amortization"])["amortization"]
    assert found.verdict == "fail"
    assert "refine_posterior" in found.cure


def test_rotated_axes(healthy):
    model = copy.deepcopy(healthy)
    rotation = torch.tensor(ortho_group.rvs(10, random_state=0), dtype=torch.float32)
    head = model.module.z_encoder.mean_encoder
    first = model.module.decoder.px_decoder.fc_layers[0][0].weight
    with torch.no_grad():
        head.weight.copy_(rotation.T @ head.weight)
        head.bias.copy_(rotation.T @ head.bias)
        first[:, :10] = first[:, :10] @ rotation
    before, after = (
        run(m, checks=["identifiability"])["identifiability"] for m in (healthy, model)
    )
    assert verdicts(before)["rotation"] == "ok"
    assert verdicts(after)["rotation"] == "warn"
    assert after.rotation_loss < 0.3 * before.rotation_loss
    np.testing.assert_allclose(after.eigenvalues[:4], before.eigenvalues[:4], rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "inflation", "expected"),
    [
        ("poisson", 0.2, {"residuals": "fail", "zeros": "fail", "dispersion": "fail"}),
        ("poisson", 0.0, {"residuals": "fail", "dispersion": "fail"}),
        ("nb", 0.2, {"zero_inflation": "warn"}),
    ],
)
def test_wrong_likelihood(simulate, trained, likelihood, inflation, expected):
    model = trained(simulate(inflation=inflation), LABEL, gene_likelihood=likelihood)
    found = run(model, checks=["fit"])["fit"]
    assert expected.items() <= verdicts(found).items(), found.criteria
    best = found.alternatives[0].name
    assert best == ("zinb" if inflation else "nb") or found.alternatives[0].gain < 5


@pytest.mark.slow
def test_dispersion_that_differs_between_batches(simulate, trained):
    model = trained(simulate(dispersion=(0.5, 3.0, 20.0)))
    found = run(model, checks=["fit"])["fit"]
    assert verdicts(found)["dispersion"] != "ok"
    assert "gene-batch" in found.cure
    assert found.alternatives[0].name == "nb by batch"


@pytest.mark.slow
def test_too_few_dimensions(simulate, trained):
    found = run(trained(simulate(8), LABEL, n_latent=2), checks=["fit"])["fit"]
    assert verdicts(found)["correlation"] == "warn"


@pytest.mark.slow
def test_batch_that_leaks(simulate, trained, report):
    assert verdicts(report["confounding"])["batch"] == "ok"
    blind = run(trained(simulate(batch=0.3), LABEL), checks=["confounding"], batch_key="batch")[
        "confounding"
    ]
    assert blind.verdict == "fail"
    assert blind.batch_accuracy > 0.8


@pytest.mark.slow
def test_depth_in_the_latent_space(simulate, trained):
    adata = simulate(spread=0.5)
    told = run(trained(adata, LABEL), checks=["confounding"])["confounding"]
    untold = run(
        trained(adata.copy(), LABEL | {"size_factor_key": "one"}), checks=["confounding"]
    )["confounding"]
    assert told.verdict == "ok"
    assert untold.verdict == "fail"
    assert untold.library_r2 > told.library_r2 + 0.5


@pytest.mark.slow
def test_over_fitting(simulate, trained, report):
    assert verdicts(report["fit"])["overfitting"] == "ok"
    model = trained(simulate(n_cells=300), LABEL, epochs=400)
    found = run(model, checks=["fit"])["fit"]
    assert verdicts(found)["overfitting"] == "fail"
    assert found.elbo_train > found.elbo_held_out + 20


# -- models of every kind ---------------------------------------------------------------------


def scanvi(adata):
    scvi.model.SCANVI.setup_anndata(adata, unlabeled_category="?", **LABEL)
    return scvi.model.SCANVI(adata, n_latent=4)


@pytest.mark.parametrize("kind", ["SCVI", "LinearSCVI", "SCANVI"])
def test_models_of_scvi_tools(simulate, kind):
    adata = simulate(n_cells=200, n_genes=60)
    if kind == "SCANVI":
        model = scanvi(adata)
    else:
        cls = getattr(scvi.model, kind)
        cls.setup_anndata(adata, batch_key="batch", labels_key="label")
        model = cls(adata, n_latent=4)
    model.train(max_epochs=3, enable_progress_bar=False)
    report = run(model)
    assert list(report) == NAMES
    assert report.about["model"] == f"scvi {kind}"
    assert all(finding.verdict != "skipped" for finding in report.values())
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_same_model_of_both_libraries(healthy):
    """Findings are of the weights, not of the library that holds them."""
    ours, theirs = (run(m, max_cells=300) for m in (healthy, healthy.to_scvi_model()))
    assert theirs.about["model"] == "scvi SCVI"
    for name in NAMES:
        assert verdicts(theirs[name]) == verdicts(ours[name]), name
    np.testing.assert_allclose(theirs["collapse"].kl, ours["collapse"].kl, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(theirs["fit"].genes["ks"], ours["fit"].genes["ks"], atol=0.02)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"use_observed_lib_size": False},
        {"latent_distribution": "ln"},
        {"gene_likelihood": "zinb", "dispersion": "gene-cell"},
        {"gene_likelihood": "normal"},
        {"n_latent": 1},
        {"batch_representation": "embedding"},
    ],
    ids=lambda kwargs: next(iter(kwargs)),
)
def test_every_architecture(simulate, trained, kwargs):
    model = trained(simulate(n_cells=150, n_genes=40), epochs=2, **kwargs)
    report = run(model)
    assert list(report) == NAMES
    skipped = [name for name in NAMES if report[name].verdict == "skipped"]
    assert skipped == (["identifiability"] if model.module.n_latent == 1 else [])
    json.dumps(report.to_dict(), allow_nan=False)
    assert str(report)


def test_cells_that_the_model_does_not_know(healthy, simulate):
    adata = simulate(batch=0.3, n_cells=200, seed=0)
    adata.obs_names = [f"new{i}" for i in range(200)]
    report = run(healthy, adata, checks=["fit"])
    assert report.about["split"] == "new"
    assert report["fit"].held_out
    assert verdicts(report["fit"])["overfitting"] == "skipped"


# -- what cannot be audited -------------------------------------------------------------------


def test_errors(healthy):
    with pytest.raises(ModelTypeError, match="`model` is a dict"):
        run({})
    with pytest.raises(DataError, match="`checks` is 'fits'"):
        run(healthy, checks=["fits"])
    with pytest.raises(DataError, match="`max_cells` is 1: that leaves 1"):
        run(healthy, max_cells=1)
    for argument in ("batch_key", "labels_key"):
        with pytest.raises(MissingKeyError, match=f"`{argument}` is 'tissue'"):
            run(healthy, **{argument: "tissue"})


def test_counts_that_were_replaced(healthy):
    model = SCVI.from_scvi_model(healthy.to_scvi_model())
    model.adata.obsm["X_m"], model.adata.obsm["X_v"] = model.get_latent_representation(
        return_dist=True
    )
    model.minify_adata(use_latent_qzm_key="X_m", use_latent_qzv_key="X_v")
    assert isinstance(model.adata, anndata.AnnData)
    with pytest.raises(DataError, match="minified"):
        run(model)
