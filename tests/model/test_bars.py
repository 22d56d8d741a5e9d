"""Every call that may take long has one bar, and so has what scvi-tools brings."""

import io
import sys

import numpy as np
import pytest

import lucidvi
from lucidvi import _progress, audit, simulate
from lucidvi.atlas import Reference
from lucidvi.model import SCVI

CELLS = "Going through the cells"
#: Calls, and what their bars say.
CALLS = {
    "get_latent_representation": (lambda m, a: m.get_latent_representation(), CELLS),
    "of other cells": (lambda m, a: m.get_latent_representation(a[:30].copy()), CELLS),
    "get_normalized_expression": (lambda m, a: m.get_normalized_expression(), CELLS),
    "posterior_predictive_sample": (lambda m, a: m.posterior_predictive_sample(), CELLS),
    "get_feature_correlation_matrix": (
        lambda m, a: m.get_feature_correlation_matrix(n_samples=2),
        CELLS,
    ),
    "get_likelihood_parameters": (lambda m, a: m.get_likelihood_parameters(), CELLS),
    "get_elbo": (lambda m, a: m.get_elbo(), CELLS),
    "get_reconstruction_error": (lambda m, a: m.get_reconstruction_error(), CELLS),
    "get_latent_library_size": (lambda m, a: m.get_latent_library_size(give_mean=False), CELLS),
    "get_aggregated_posterior": (lambda m, a: m.get_aggregated_posterior(), CELLS),
    "get_marginal_ll": (lambda m, a: m.get_marginal_ll(n_mc_samples=4), "Estimating the"),
    "refine_posterior": (lambda m, a: m.refine_posterior(), "Refining"),
    "get_inference_gap": (
        lambda m, a: m.get_inference_gap(n_chains=2, n_temperatures=3),
        "Measuring the gap",
    ),
    "canonicalize": (lambda m, a: m.canonicalize(), CELLS),
    "from_model": (lambda m, a: Reference.from_model(m, "label"), "Making the reference"),
    "audit": (lambda m, a: audit.run(m, checks=["collapse", "confounding"]), "Auditing"),
    "resequence": (lambda m, a: simulate.resequence(m, depth_factor=0.5), "Resequencing"),
    "setup_anndata": (lambda m, a: SCVI.setup_anndata(a.copy()), "Checking the counts"),
}


@pytest.fixture(scope="module")
def model(make_adata):
    adata = make_adata(n_cells=120)
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = SCVI(adata, n_latent=2)
    model.train(max_epochs=1, enable_progress_bar=False)
    return model


@pytest.fixture
def drawn(monkeypatch):
    """Bars that were drawn: what each said first, and what it did at last."""
    bars = []

    class Recorded:
        def __init__(self, description, total, seconds):
            self.total, self.texts = total, []
            bars.append(self)

        def draw(self, description, n_done):
            self.texts.append(description)
            self.n_done = n_done

        def close(self):
            pass

    monkeypatch.setitem(_progress.STYLES, "tqdm", Recorded)
    monkeypatch.setattr(_progress, "PATIENCE", -1.0)
    monkeypatch.setattr(_progress, "INTERVAL", 0.0)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    # Several steps of what is small.
    monkeypatch.setattr("scvi.settings.batch_size", 16)
    monkeypatch.setattr("lucidvi.model._cells.MOST_CELLS", 16)
    monkeypatch.setattr("lucidvi.data.matrices._blocks.BLOCK", 400)
    monkeypatch.setattr("lucidvi.data.matrices._stored.CHUNK", 400)
    return bars


def held(model):
    """A copy of the model, for calls that change it."""
    return SCVI.from_scvi_model(model.to_scvi_model())


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("name", CALLS)
def test_long_calls_have_a_bar(model, drawn, name):
    model = held(model)
    drawn.clear()
    call, says = CALLS[name]
    call(model, model.adata)
    assert any(bar.texts[0].startswith(says) for bar in drawn)
    for bar in drawn:
        assert bar.total is None or bar.n_done == bar.total


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("name", CALLS)
def test_none_has_one_when_they_are_off(model, drawn, monkeypatch, name):
    model = held(model)
    drawn.clear()
    monkeypatch.setattr(lucidvi.settings, "progress_bars", False)
    CALLS[name][0](model, model.adata)
    assert drawn == []


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_mapping_a_new_batch(model, drawn):
    reference = Reference.from_model(model, "label")
    query = model.adata[:40].copy()
    query.obs["batch"] = "new"
    drawn.clear()
    reference.map(query)
    (bar,) = drawn
    assert bar.n_done == bar.total
    assert any("learning batches" in text for text in bar.texts)
    assert any("placing cells" in text for text in bar.texts)
    assert all(text.startswith("Mapping") for text in bar.texts)


def test_saving_with_cells(model, drawn, tmp_path):
    model.save(str(tmp_path / "model"), save_anndata=True)
    assert drawn[-1:] == []  # there is nothing to count, and it was over before anybody looked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_progress, "LOOK", 0.0)
        model.save(str(tmp_path / "again"), save_anndata=True)
    assert drawn[-1].texts[0].startswith("Saving")


def test_of_a_backed_file(model, drawn, tmp_path):
    from anndata import read_h5ad

    model.adata.copy().write_h5ad(tmp_path / "cells.h5ad")
    SCVI.setup_anndata(read_h5ad(tmp_path / "cells.h5ad", backed="r"))
    assert drawn[0].texts[0] == "Checking the counts"
    assert drawn[0].total == 120 * 20


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_scvi_tools_own_bars_do_not_double(model, drawn, monkeypatch):
    """Over minibatches of correlations; its `silent` and our switch turn it off."""
    shown = []
    monkeypatch.setattr(
        "scvi.model.base._rnamixin.track",
        lambda batches, disable, **_: shown.append(not disable) or batches,
    )
    quick = {"n_samples": 2, "batch_size": 20}
    model.get_feature_correlation_matrix(**quick, silent=False)
    assert set(shown) == {True}
    assert drawn == []
    shown.clear()
    model.get_feature_correlation_matrix(**quick, silent=True)
    assert set(shown) == {False}
    assert drawn
    drawn.clear()
    shown.clear()
    monkeypatch.setattr(lucidvi.settings, "progress_bars", False)
    model.get_feature_correlation_matrix(**quick, silent=False)
    assert set(shown) == {False}
    assert drawn == []


@pytest.mark.parametrize("function", [None, lambda x, y, pseudocounts: x - y])
def test_groups_that_are_compared_have_one_bar(model, drawn, function):
    ask = {"groupby": "label", "mode": "change", "change_fn": function, "n_samples_overall": 50}
    model.differential_expression(**ask)
    assert drawn
    assert all(bar.texts[0].startswith("Comparing groups") for bar in drawn)
    drawn.clear()
    model.differential_expression(**ask, silent=True)
    assert not any(bar.texts[0].startswith("Comparing groups") for bar in drawn)


def test_training_follows_the_switch(make_adata, monkeypatch):
    adata = make_adata()
    SCVI.setup_anndata(adata)
    seen = []
    base = SCVI._train_runner_cls
    monkeypatch.setattr(
        SCVI,
        "_train_runner_cls",
        staticmethod(
            lambda *args, **kwargs: (
                seen.append(kwargs.get("enable_progress_bar")) or base(*args, **kwargs)
            )
        ),
    )
    for on in (True, False):
        monkeypatch.setattr(lucidvi.settings, "progress_bars", on)
        SCVI(adata, n_latent=2).train(max_epochs=1)
    assert seen == [None, False]


def test_results_do_not_depend_on_bars(model, drawn, monkeypatch):
    with_bar = model.get_latent_representation()
    assert drawn
    monkeypatch.setattr(lucidvi.settings, "progress_bars", False)
    np.testing.assert_array_equal(model.get_latent_representation(), with_bar)


def test_nothing_is_printed_by_short_calls(model, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    model.get_latent_representation()
    model.get_elbo()
    assert out.getvalue() == ""
