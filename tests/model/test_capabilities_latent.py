"""Latent representation, library size and batch embedding, every argument at work."""

import numpy as np
import pytest
import scvi.model
import torch
from scipy import stats
from torch.distributions import LogNormal

from lucidvi.model import SCVI

SOME = np.array([7, 3, 3, 91, 149])


@pytest.fixture(scope="module")
def simplex(make_adata):
    """A model with a logistic normal latent space, and its twin in scvi-tools."""
    adata = make_adata(40)
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    model = scvi.model.SCVI(adata, n_hidden=8, n_latent=3, latent_distribution="ln")
    model.train(max_epochs=2, batch_size=16)
    return SCVI.from_scvi_model(model), model


@pytest.fixture(scope="module")
def deep(make_adata):
    """A model with a latent library and embedded batches, and its twin in scvi-tools."""
    adata = make_adata(45)
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    model = scvi.model.SCVI(
        adata, n_hidden=8, use_observed_lib_size=False, batch_representation="embedding"
    )
    model.train(max_epochs=2, batch_size=16)
    return SCVI.from_scvi_model(model), model


# -- the latent representation ----------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 40, None])
@pytest.mark.parametrize("indices", [None, SOME, list(range(20))])
def test_mean(both, indices, batch_size):
    got, want = both("get_latent_representation", indices=indices, batch_size=batch_size)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert got.shape == (150 if indices is None else len(indices), 3)


def test_indices_are_rows_in_the_order_asked_for(ours):
    everything = ours.get_latent_representation()
    some = ours.get_latent_representation(indices=SOME)
    np.testing.assert_allclose(some, everything[SOME], rtol=1e-5, atol=1e-6)
    assert np.ptp(everything, axis=0).min() > 0.5


def test_batch_size_is_that_of_the_forward_pass(ours, monkeypatch):
    sizes, inference = [], ours.module.inference
    monkeypatch.setattr(
        ours.module, "inference", lambda x, **kw: sizes.append(len(x)) or inference(x=x, **kw)
    )
    ours.get_latent_representation(batch_size=70)
    assert sizes == [70, 70, 10]


def test_distribution(both, ours):
    (mean, variance), theirs = both("get_latent_representation", return_dist=True)
    np.testing.assert_allclose(mean, theirs[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, theirs[1], rtol=1e-5)
    np.testing.assert_allclose(mean, ours.get_latent_representation(), rtol=1e-6)
    assert (variance > 0).all()


def test_sample_has_the_distribution(both, ours):
    draw, theirs = both("get_latent_representation", give_mean=False)
    np.testing.assert_allclose(draw, theirs, rtol=1e-4, atol=1e-5)
    mean, variance = ours.get_latent_representation(return_dist=True)
    draws = [ours.get_latent_representation(give_mean=False) for _ in range(20)]
    standardized = (np.stack(draws) - mean) / np.sqrt(variance)
    assert stats.kstest(standardized.ravel(), "norm").pvalue > 0.01


def test_other_data_and_loaders(both, ours, theirs, make_adata, loader):
    cells = make_adata(30, seed=9)
    got, want = both("get_latent_representation", adata=cells)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    loaded = ours.get_latent_representation(dataloader=loader(SOME))
    np.testing.assert_allclose(loaded, ours.get_latent_representation(indices=SOME), rtol=1e-6)
    for model in (ours, theirs):
        with pytest.raises(ValueError, match="`adata` or `dataloader`"):
            model.get_latent_representation(adata=cells, dataloader=loader())


def test_logistic_normal_mean_is_an_average_of_draws(both, simplex):
    got, want = both("get_latent_representation", models=simplex, mc_samples=11)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-5)
    location, variance = simplex[0].get_latent_representation(return_dist=True)
    draws = np.random.default_rng(0).normal(size=(20_000, 1, 3)) * np.sqrt(variance) + location
    exact = (np.exp(draws) / np.exp(draws).sum(-1, keepdims=True)).mean(0)
    errors = {}
    for mc_samples in (1, 2000):
        estimate = simplex[0].get_latent_representation(mc_samples=mc_samples)
        errors[mc_samples] = np.abs(estimate - exact).mean()
    assert errors[2000] < 0.01 < errors[1]


def test_untrained_models_have_no_latent_representation(adata):
    SCVI.setup_anndata(adata)
    for method in ("get_latent_representation", "get_latent_library_size"):
        with pytest.raises(RuntimeError, match="untrained"):
            getattr(SCVI(adata), method)()


def test_loader_arguments_are_passed_on(ours):
    for method in (ours.get_latent_representation, ours.posterior_predictive_sample):
        assert method(indices=SOME, batch_size=2, drop_last=True).shape[0] == 4


# -- the library size -------------------------------------------------------------------------


def test_observed_library_size(ours, theirs, loader):
    totals = np.asarray(ours.adata.X.sum(axis=1))
    with pytest.raises(RuntimeError, match="Set `give_mean` to False"):
        theirs.get_latent_library_size()
    with pytest.raises(RuntimeError, match="give_mean=False"):
        ours.get_latent_library_size()
    got = ours.get_latent_library_size(give_mean=False, batch_size=33)
    np.testing.assert_allclose(got, totals, rtol=1e-5)
    got = ours.get_latent_library_size(give_mean=False, indices=SOME)
    np.testing.assert_allclose(got, totals[SOME], rtol=1e-5)
    got = ours.get_latent_library_size(give_mean=False, dataloader=loader(SOME))
    np.testing.assert_allclose(got, totals[SOME], rtol=1e-5)


def test_latent_library_size(both, deep, make_adata):
    cells = make_adata(25, seed=3)
    for give_mean in (True, False):
        got, want = both(
            "get_latent_library_size", models=deep, adata=cells, give_mean=give_mean, batch_size=9
        )
        assert got.shape == (25, 1)
        np.testing.assert_allclose(got, want, rtol=1e-4)
    model = deep[0]
    draws = [model.get_latent_library_size(give_mean=False) for _ in range(60)]
    ql = model.module.inference(
        torch.tensor(model.adata.X.toarray()),
        torch.tensor(model.data_registry("batch")),
    )["ql"]
    expected = LogNormal(ql.loc, ql.scale).mean.detach().numpy()
    np.testing.assert_allclose(model.get_latent_library_size(), expected, rtol=1e-5)
    standardized = (np.log(np.stack(draws)) - ql.loc.detach().numpy()) / ql.scale.detach().numpy()
    assert stats.kstest(standardized.ravel(), "norm").pvalue > 0.01


# -- the embedding of batches -----------------------------------------------------------------


def test_batch_representation(both, deep, make_adata):
    cells = make_adata(17, seed=4)
    got, want = both("get_batch_representation", models=deep, adata=cells, batch_size=5)
    np.testing.assert_array_equal(got, want)
    table = deep[0].module.get_embedding("batch").weight.detach().numpy()
    codes = cells.obs["batch"].cat.codes.to_numpy()
    np.testing.assert_array_equal(got, table[codes])
    some = deep[0].get_batch_representation(indices=[5, 0, 2])
    np.testing.assert_array_equal(some, table[[2, 0, 2]])


def test_one_hot_batches_have_no_embedding(ours, theirs):
    for model in (ours, theirs):
        with pytest.raises(KeyError, match="batch"):
            model.get_batch_representation()
