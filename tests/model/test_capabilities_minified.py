"""Minified models: the same results from the stored posterior, and no more than that."""

import numpy as np
import pandas as pd
import pytest
import torch

from lucidvi.model import SCVI

WITHOUT = "latent_posterior_parameters"
WITH = "latent_posterior_parameters_with_counts"


def seeded(method, **kwargs):
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    torch.manual_seed(0)
    return method(**kwargs)


@pytest.fixture
def minified(ours):
    """Return a function that makes a minified twin of the trained model."""

    def make(kind, keys=("X_latent_qzm", "X_latent_qzv"), **kwargs):
        model = SCVI.from_scvi_model(ours.to_scvi_model())
        model.adata = ours.adata.copy()
        mean, variance = ours.get_latent_representation(return_dist=True)
        model.adata.obsm[keys[0]], model.adata.obsm[keys[1]] = mean, variance
        model.minify_adata(minified_data_type=kind, **kwargs)
        return model

    return make


@pytest.mark.parametrize("kind", [WITHOUT, WITH])
def test_results_are_those_of_the_full_model(minified, ours, kind):
    model = minified(kind)
    assert model.minified_data_type == kind
    assert "is minified?: True" in model.summary_string
    assert "is minified?: False" in ours.summary_string
    assert ours.minified_data_type is None
    for kwargs in ({}, {"return_dist": True}, {"indices": [3, 1]}, {"give_mean": False}):
        got, want = (seeded(m.get_latent_representation, **kwargs) for m in (model, ours))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    for kwargs in ({"library_size": "latent"}, {"transform_batch": "1"}, {"n_samples": 3}):
        got, want = (seeded(m.get_normalized_expression, **kwargs) for m in (model, ours))
        pd.testing.assert_frame_equal(got, want, rtol=1e-3, atol=1e-6)
    for name in ("get_likelihood_parameters",):
        got, want = (seeded(getattr(m, name)) for m in (model, ours))
        np.testing.assert_allclose(got["mean"], want["mean"], rtol=1e-3, atol=1e-6)
    got, want = (
        seeded(m.posterior_predictive_sample, n_samples=20).todense() for m in (model, ours)
    )
    np.testing.assert_array_equal(got, want)


@pytest.mark.filterwarnings("ignore:Count statistics make no sense for minified model")
@pytest.mark.parametrize("kind", [WITHOUT, WITH])
def test_differential_expression(minified, ours, kind):
    arguments = {"groupby": "label", "group1": "T", "all_stats": False, "silent": True}
    got, want = (
        seeded(m.differential_expression, n_samples_overall=500, **arguments)
        for m in (minified(kind), ours)
    )
    pd.testing.assert_frame_equal(got.sort_index(), want.sort_index(), rtol=1e-2, atol=1e-2)


def test_counts_are_kept_or_not(minified, ours):
    without, with_counts = minified(WITHOUT), minified(WITH)
    assert without.adata.X.nnz == 0
    assert (with_counts.adata.X != ours.adata.X).nnz == 0
    totals = np.asarray(ours.adata.X.sum(axis=1)).ravel()
    for model in (without, with_counts):
        np.testing.assert_array_equal(model.adata.obs["observed_lib_size"], totals)
        assert list(model.adata.var_names) == list(ours.adata.var_names)
    for method in ("get_elbo", "get_reconstruction_error", "get_marginal_ll"):
        with pytest.raises(ValueError, match="minified"):
            getattr(without, method)()
    with pytest.raises(ValueError, match="minified"):
        without.get_latent_library_size(give_mean=False)
    for method in ("get_elbo", "get_reconstruction_error"):
        got, want = (seeded(getattr(m, method)) for m in (with_counts, ours))
        got, want = (
            float(r["reconstruction_loss"] if isinstance(r, dict) else r) for r in (got, want)
        )
        assert got == pytest.approx(want, rel=1e-3)


def test_names_of_the_stored_posterior(minified, ours):
    model = minified(
        WITHOUT,
        keys=("my_mean", "my_variance"),
        use_latent_qzm_key="my_mean",
        use_latent_qzv_key="my_variance",
    )
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(mean, ours.get_latent_representation(), rtol=1e-4, atol=1e-5)
    model.adata.obsm["scvi_latent_qzm"] = mean + 1
    np.testing.assert_allclose(model.get_latent_representation(), mean + 1, rtol=1e-5)
    np.testing.assert_allclose(model.adata.obsm["scvi_latent_qzv"], variance, rtol=1e-5)


def test_what_cannot_be_minified(ours, adata):
    with pytest.raises(NotImplementedError, match="median is not supported"):
        ours.minify_adata("median")
    SCVI.setup_anndata(adata)
    model = SCVI(adata, use_observed_lib_size=False)
    with pytest.raises(ValueError, match="observed library size"):
        model.minify_adata()


@pytest.mark.parametrize("kind", [WITHOUT, WITH])
def test_a_minified_model_is_saved_and_loaded(minified, ours, tmp_path, kind):
    minified(kind).save(str(tmp_path / "model"), save_anndata=True)
    loaded = SCVI.load(str(tmp_path / "model"))
    assert loaded.minified_data_type == kind
    got, want = (seeded(m.get_normalized_expression) for m in (loaded, ours))
    pd.testing.assert_frame_equal(got, want, rtol=1e-3, atol=1e-6)
