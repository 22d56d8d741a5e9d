"""``posterior="refined"``: the same answers as of a model that stores refined posteriors."""

import numpy as np
import pytest
import torch

from lucidvi.errors import DataError
from lucidvi.model import SCVI

CELLS = [5, 3, 40, 77]


@pytest.fixture(scope="module")
def stored(ours):
    """Return a model that takes every latent state from refined posteriors in its AnnData."""
    model = SCVI.from_scvi_model(ours.to_scvi_model())
    model.adata = ours.refine_posterior().to_adata(ours.adata)
    return model


def test_latent_states_and_their_variances(ours, stored):
    mean, variance = ours.get_latent_representation(posterior="refined", return_dist=True)
    want = stored.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(mean, want[0], rtol=1e-5)
    np.testing.assert_allclose(variance, want[1], rtol=1e-4)
    some = ours.get_latent_representation(indices=CELLS, posterior="refined")
    np.testing.assert_allclose(some, mean[CELLS], atol=1e-3)
    assert np.abs(some - ours.get_latent_representation(indices=CELLS)).max() > 0.01


def test_draws_of_latent_states(ours):
    torch.manual_seed(0)
    draws = [
        ours.get_latent_representation(indices=CELLS, give_mean=False, posterior="refined")
        for _ in range(60)
    ]
    refined = ours.refine_posterior(indices=CELLS)
    np.testing.assert_allclose(np.std(draws, axis=0), refined.scale, rtol=0.4)
    error = refined.scale / np.sqrt(60)
    assert (np.abs(np.mean(draws, axis=0) - refined.loc) < 4 * error).all()


def test_states_of_a_logistic_normal_are_those_after_the_softmax(make_adata):
    adata = make_adata(40)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=3, latent_distribution="ln")
    model.train(max_epochs=2)
    states = model.get_latent_representation(posterior="refined", mc_samples=500)
    np.testing.assert_allclose(states.sum(axis=1), 1, rtol=1e-4)


def test_the_bound(ours):
    refined = ours.refine_posterior(indices=CELLS)
    elbo = ours.get_elbo(indices=CELLS, return_mean=False, posterior="refined")
    np.testing.assert_allclose(elbo.numpy(), refined.elbo)
    mean = ours.get_elbo(indices=CELLS, posterior="refined")
    np.testing.assert_allclose(float(mean), refined.elbo.mean(), rtol=1e-6)
    table = refined.diagnostics()
    assert list(table.index) == [f"cell{i}" for i in CELLS]
    np.testing.assert_array_equal(table["elbo"], refined.elbo)
    assert list(table.columns) == ["library", "elbo_before", "elbo", "n_steps"]


def test_expression_and_draws_of_counts(ours, stored):
    adata = ours.adata
    managers = ours._per_instance_manager_store.get(ours.id, {})
    n_managers = len(managers)
    refined = {"posterior": "refined", "n_samples": 400}
    got = ours.get_normalized_expression(indices=CELLS, **refined)
    want = stored.get_normalized_expression(indices=CELLS, n_samples=400)
    assert list(got.index) == [f"cell{i}" for i in CELLS]
    np.testing.assert_allclose(got, want, rtol=0.3, atol=2e-3)
    by_encoder = ours.get_normalized_expression(indices=CELLS, n_samples=400)
    assert np.abs(got - by_encoder).to_numpy().max() > 2 * np.abs(got - want).to_numpy().max()
    counts = ours.posterior_predictive_sample(indices=CELLS, **refined).todense()
    assert counts.shape == (4, 20, 400)
    depth = stored.adata.X[CELLS].sum(axis=1)
    np.testing.assert_allclose(counts.mean(axis=2).sum(axis=1), np.ravel(depth), rtol=0.1)
    assert ours.adata is adata
    assert len(managers) == n_managers


def test_what_cannot_be_refined(ours, loader):
    with pytest.raises(DataError, match="`posterior` is 'refine'") as error:
        ours.get_latent_representation(posterior="refine")
    assert "posterior='refined'" in error.value.remedy
    for method in ("get_latent_representation", "get_elbo", "get_normalized_expression"):
        with pytest.raises(DataError, match="was given a `dataloader`"):
            getattr(ours, method)(dataloader=loader(), posterior="refined")
