"""Bounds, reconstruction, draws of counts and correlations, every argument at work."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from lucidvi.module import DrawnStates

SOME = np.array([7, 3, 91, 149, 20])


def values(result):
    """The numbers, whether or not they come in a dictionary."""
    return result["reconstruction_loss"] if isinstance(result, dict) else result


# -- ELBO and reconstruction ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get_elbo", "get_reconstruction_error"])
@pytest.mark.parametrize("return_mean", [True, False])
@pytest.mark.parametrize("indices", [None, SOME])
def test_bounds_are_those_of_scvi_tools(both, method, return_mean, indices):
    got, want = both(method, indices=indices, return_mean=return_mean, batch_size=40)
    assert type(got) is type(want)
    got, want = torch.as_tensor(values(got)), torch.as_tensor(values(want))
    np.testing.assert_allclose(got, want, rtol=1e-4)
    assert (got < 0).all() == (method == "get_elbo")


def test_elbo_is_reconstruction_less_divergence(both, ours):
    (elbo, _), (error, _) = (
        both(method, return_mean=False, batch_size=40)
        for method in ("get_elbo", "get_reconstruction_error")
    )
    mean, variance = ours.get_latent_representation(return_dist=True)
    posterior = Normal(torch.tensor(mean), torch.tensor(variance).sqrt())
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1)
    np.testing.assert_allclose(elbo, -error["reconstruction_loss"] - divergence, rtol=1e-4)
    mean_elbo, _ = both("get_elbo", batch_size=40)
    assert float(mean_elbo) == pytest.approx(float(elbo.mean()), rel=1e-5)


@pytest.mark.parametrize("method", ["get_elbo", "get_reconstruction_error"])
def test_bounds_of_other_data_and_loaders(both, loader, make_adata, method):
    def of_cells(**kwargs):
        got, want = both(method, return_mean=False, **kwargs)
        np.testing.assert_allclose(values(got), values(want), rtol=1e-4)
        return np.asarray(values(got))

    assert of_cells(adata=make_adata(30, seed=9)).shape == (30,)
    direct = of_cells(indices=SOME, batch_size=40)
    np.testing.assert_array_equal(of_cells(dataloader=loader(SOME)), direct)
    loader_kwargs = {"drop_last": True}
    assert of_cells(indices=SOME, batch_size=2, data_loader_kwargs=loader_kwargs).shape == (4,)
    moved = of_cells(batch_size=150, generative_kwargs={"transform_batch": 2})
    change = np.abs(moved - of_cells(batch_size=150))
    there = np.arange(150) % 3 == 2
    assert change[there].max() < 1e-3
    assert change[~there].mean() > 0.1


def test_marginal_likelihood_is_above_the_elbo(both, ours):
    """The estimate itself is tested in test_likelihood.py."""
    got, want = both("get_marginal_ll", n_mc_samples=500, batch_size=150, n_mc_samples_per_pass=50)
    assert got == pytest.approx(want, abs=0.5)
    assert got > float(ours.get_elbo()) + 0.1


# -- the posterior predictive distribution ----------------------------------------------------


def test_draws_have_the_moments_of_the_likelihood(both, ours):
    got, want = both("posterior_predictive_sample", n_samples=400, indices=SOME, batch_size=3)
    assert type(got) is type(want)
    assert got.shape == want.shape == (5, 20, 400)
    got, want = got.todense(), want.todense()
    parameters = ours.get_likelihood_parameters(indices=SOME, n_samples=2000)
    expressed = 1 - parameters["dropout"]
    mean = (expressed * parameters["mean"]).mean(0)
    zero = (parameters["dispersions"] / (parameters["dispersions"] + parameters["mean"])) ** (
        parameters["dispersions"]
    )
    zeros = (1 - expressed * (1 - zero)).mean(0)
    standard_error = got.std(axis=-1) / 20 + 1e-3
    assert np.abs((got.mean(-1) - mean) / standard_error).max() < 5
    assert np.abs((got == 0).mean(-1) - zeros).max() < 0.12
    for cell in range(5):
        for gene in range(20):
            assert stats.ks_2samp(got[cell, gene], want[cell, gene], method="asymp").pvalue > 1e-4


def test_draws_of_some_genes_and_cells(both, ours, loader):
    everything = ours.posterior_predictive_sample(n_samples=200).todense()
    got, _ = both(
        "posterior_predictive_sample", indices=SOME, gene_list=["gene9", "gene1"], n_samples=200
    )
    assert got.shape == (5, 2, 200)
    want = everything[SOME][:, [9, 1]]
    error = np.sqrt(want.var(-1) / 100) + 1e-3
    assert np.abs((got.todense().mean(-1) - want.mean(-1)) / error).max() < 5
    once = ours.posterior_predictive_sample()
    assert once.shape == (150, 20)
    assert (once.todense() == np.round(once.todense())).all()
    some = ours.posterior_predictive_sample(dataloader=loader(SOME))
    assert some.shape == (5, 20)
    with pytest.raises(ValueError, match="None of the provided genes"):
        ours.posterior_predictive_sample(gene_list=["no gene"])


def test_draws_for_another_batch_and_other_data(both, ours, make_adata, monkeypatch):
    cells = make_adata(30, seed=9)
    for batch in (["1"], ["0", "2"]):
        got, want = both(
            "posterior_predictive_sample", adata=cells, transform_batch=batch, n_samples=300
        )
        assert got.shape == want.shape == (30, 20, 300)
        got, want = got.todense().mean((0, 2)), want.todense().mean((0, 2))
        np.testing.assert_allclose(got, want, rtol=0.1, atol=0.03)
    asked, in_batch = [], DrawnStates.in_batch
    monkeypatch.setattr(
        DrawnStates, "in_batch", lambda states, code: asked.append(code) or in_batch(states, code)
    )
    ours.posterior_predictive_sample(cells, transform_batch=["0", "2"])
    assert asked == [0, 2]


def test_progress_is_shown_if_wanted(ours, monkeypatch):
    bars = []
    monkeypatch.setattr(
        "scvi.model.base._rnamixin.track", lambda batches, disable: bars.append(disable) or batches
    )
    for silent in (True, False):
        ours.get_feature_correlation_matrix(silent=silent, n_samples=2)
    assert set(bars[: len(bars) // 2]) == {True}
    assert set(bars[len(bars) // 2 :]) == {False}
    looked, bars = bars, []
    for silent in (True, False):  # a bar over the cells, where they take long, is all there is
        ours.posterior_predictive_sample(silent=silent)
        ours.get_normalized_expression(silent=silent)
    assert looked
    assert not bars


# -- correlations -----------------------------------------------------------------------------


@pytest.mark.parametrize("correlation_type", ["spearman", "pearson"])
def test_planted_correlations_are_found(both, ours, correlation_type):
    got, want = both(
        "get_feature_correlation_matrix", correlation_type=correlation_type, n_samples=40
    )
    np.testing.assert_allclose(got, want, atol=0.1)
    assert list(got.index) == list(got.columns) == list(ours.adata.var_names)
    np.testing.assert_allclose(np.diag(got), 1, rtol=1e-6)
    np.testing.assert_allclose(got, got.T, atol=1e-12)
    is_t = (ours.adata.obs["label"] == "T").to_numpy()
    share = ours.adata.X.toarray() / np.asarray(ours.adata.X.sum(axis=1))
    effect = np.log2((share[is_t].mean(0) + 1e-3) / (share[~is_t].mean(0) + 1e-3))
    clear = np.abs(effect) > 1.5
    planted = np.sign(np.outer(effect[clear], effect[clear]))
    assert (np.sign(got.to_numpy()[clear][:, clear]) == planted).mean() > 0.9


def test_the_two_correlations(both):
    pearson, _ = both("get_feature_correlation_matrix", correlation_type="pearson", n_samples=1)
    spearman, theirs = both(
        "get_feature_correlation_matrix", correlation_type="spearman", n_samples=1
    )
    np.testing.assert_allclose(spearman, theirs, atol=1e-3)
    assert not np.allclose(pearson, spearman, atol=0.02)
    with pytest.raises(ValueError, match="Unknown correlation type"):
        both("get_feature_correlation_matrix", correlation_type="kendall")


def test_correlations_in_some_cells_and_batches(both, ours, make_adata, monkeypatch):
    def correlations(**kwargs):
        got, want = both("get_feature_correlation_matrix", n_samples=1, **kwargs)
        np.testing.assert_allclose(got, want, atol=1e-3)
        return got.to_numpy()

    everything = correlations()
    one_kind = np.flatnonzero(ours.adata.obs["label"] == "T")
    assert np.abs(correlations(indices=one_kind)).mean() < np.abs(everything).mean()
    assert not np.allclose(correlations(transform_batch=["2"]), everything, atol=0.02)
    assert correlations(transform_batch=["0", "2"]).shape == (20, 20)
    assert not np.allclose(correlations(adata=make_adata(60, seed=2)), everything, atol=0.1)
    sizes, asked, draw = set(), set(), ours._get_denoised_samples
    forward = ours.module.forward
    monkeypatch.setattr(
        ours.module,
        "forward",
        lambda tensors, **kw: sizes.add(len(tensors["X"])) or forward(tensors=tensors, **kw),
    )
    monkeypatch.setattr(
        ours,
        "_get_denoised_samples",
        lambda **kw: asked.add((kw["rna_size_factor"], kw["n_samples"])) or draw(**kw),
        raising=False,
    )
    ours.get_feature_correlation_matrix(batch_size=11, rna_size_factor=10, n_samples=3)
    assert max(sizes) == 11
    assert asked == {(10, 3)}


def test_denoised_samples_are_scaled(ours):
    """A common size factor cancels in a correlation, so it is tested where it does not."""
    small, large = (
        ours._get_denoised_samples(rna_size_factor=factor, n_samples=50).mean((0, 2))
        for factor in (10, 1000)
    )
    np.testing.assert_allclose(large, 100 * small, rtol=0.1)
    scale = ours.get_normalized_expression(n_samples=50).mean()
    np.testing.assert_allclose(small, 10 * scale, rtol=0.1)


# -- likelihood parameters: more in test_likelihood.py ----------------------------------------


@pytest.mark.filterwarnings("ignore:Using 1 after custom Dataloader:UserWarning")  # n_samples
def test_likelihood_parameters_are_those_of_scvi_tools(both, ours, loader, make_adata):
    for kwargs in ({}, {"indices": SOME, "batch_size": 3}, {"adata": make_adata(20, seed=4)}):
        got, want = both("get_likelihood_parameters", **kwargs)
        assert got.keys() == want.keys() == {"mean", "dropout", "dispersions"}
        for name in got:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-3, atol=1e-5)
    theta = ours.module.px_r.exp().detach().numpy()
    np.testing.assert_allclose(got["dispersions"], np.broadcast_to(theta, (20, 20)), rtol=1e-4)
    loaded, _ = both("get_likelihood_parameters", dataloader=loader(SOME))
    direct, _ = both("get_likelihood_parameters", indices=SOME, batch_size=40)
    np.testing.assert_array_equal(loaded["mean"], direct["mean"])


def test_aggregated_posterior_of_some_cells(ours, make_adata):
    cells = make_adata(30, seed=4)
    posterior = ours.get_aggregated_posterior(
        adata=cells, indices=SOME % 30, batch_size=2, dof=None
    )
    mean, variance = ours.get_latent_representation(cells, indices=SOME % 30, return_dist=True)
    z = torch.zeros(1, 3)
    density = Normal(torch.tensor(mean), torch.tensor(variance).sqrt()).log_prob(z).sum(-1)
    expected = density.logsumexp(0) - np.log(5)
    assert float(posterior.log_prob(z)) == pytest.approx(float(expected), rel=1e-4)
    heavy = ours.get_aggregated_posterior(adata=cells, dof=3.0)
    far = torch.full((1, 3), 30.0)
    light = ours.get_aggregated_posterior(adata=cells, dof=None)
    assert float(heavy.log_prob(far)) > float(light.log_prob(far)) + 100
