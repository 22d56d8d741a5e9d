"""Marginal likelihoods, likelihood parameters and aggregated posteriors that are right."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import scvi.model
import torch
from anndata import AnnData
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from lucidvi import kernels
from lucidvi.errors import DataError
from lucidvi.model import SCVI
from lucidvi.module import VAE


class LinearGaussian(VAE):
    """x = A z + b + noise, whose posterior and likelihood are known.

    The loadings have orthogonal columns, so that the posterior has a diagonal covariance and the
    encoder below is exact: importance weights are then one constant, p(x).
    """

    NOISE = 0.7

    def __init__(self, n_input, n_latent=3, encoder_error=0.0, **kwargs):
        super().__init__(n_input, n_latent=n_latent, n_hidden=4, log_variational=False)
        generator = torch.Generator().manual_seed(0)
        orthogonal = torch.linalg.qr(torch.randn(n_input, n_latent, generator=generator))[0]
        self.loadings = nn.Parameter(orthogonal * torch.tensor([2.0, 1.0, 0.5])[:n_latent])
        self.encoder_error = encoder_error

    def encode_latent(self, encoder_input, categories, rest):
        x = kernels.to_dense(encoder_input)
        precision = 1 + self.loadings.square().sum(0) / self.NOISE**2
        loc = (x @ self.loadings) / self.NOISE**2 / precision + self.encoder_error
        return Normal(loc, (1 / precision.sqrt()).expand_as(loc))

    def decode_latent(self, z, s, log_exposure):
        px = Normal(z @ self.loadings.T, self.NOISE)
        px.log_likelihood = lambda x: px.log_prob(kernels.to_dense(x)).sum(-1)
        return px

    def log_px(self, x):
        covariance = self.loadings @ self.loadings.T + self.NOISE**2 * torch.eye(
            len(self.loadings)
        )
        return MultivariateNormal(torch.zeros(len(self.loadings)), covariance).log_prob(x)


@pytest.fixture
def linear_gaussian():
    """Return a function that makes a model with a known likelihood, and that likelihood."""

    def make(model_cls=SCVI, encoder_error=0.0, n_cells=103, n_genes=6):
        rng = np.random.default_rng(1)
        adata = AnnData(np.abs(rng.normal(size=(n_cells, n_genes))).astype(np.float32) + 0.1)
        SCVI.setup_anndata(adata, is_count_data=False)
        model = SCVI(adata, n_latent=3)
        model.module = LinearGaussian(n_genes, encoder_error=encoder_error).eval()
        with torch.no_grad():
            return model, model.module.log_px(torch.as_tensor(adata.X))

    return make


# -- marginal likelihood ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 10, 50, 103, 500])
@pytest.mark.parametrize("per_pass", [None, 1, 3])
def test_marginal_likelihood_is_exact_where_it_is_known(linear_gaussian, batch_size, per_pass):
    model, want = linear_gaussian()
    kwargs = {"n_mc_samples": 10, "batch_size": batch_size, "n_mc_samples_per_pass": per_pass}
    got = model.get_marginal_ll(return_mean=False, **kwargs)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert model.get_marginal_ll(**kwargs) == pytest.approx(float(want.mean()), abs=1e-5)


def test_mean_of_minibatch_means_is_what_scvi_tools_returns(linear_gaussian):
    """A last minibatch of three cells weighs as much there as one of fifty."""
    model, want = linear_gaussian()
    as_there = scvi.model.SCVI.get_marginal_ll(model, n_mc_samples=5, batch_size=50)
    minibatch_means = [part.mean() for part in want.split(50)]
    assert as_there == pytest.approx(float(np.mean(minibatch_means)), abs=1e-4)
    assert abs(as_there - float(want.mean())) > 0.01


def test_marginal_likelihood_follows_the_order_of_the_cells(linear_gaussian):
    model, want = linear_gaussian()
    order = np.random.default_rng(0).permutation(103)[:40]
    got = model.get_marginal_ll(indices=order, return_mean=False, n_mc_samples=5, batch_size=7)
    torch.testing.assert_close(got, want[order], rtol=1e-5, atol=1e-5)


def test_as_many_samples_are_averaged_as_are_drawn(linear_gaussian):
    """scvi-tools draws 12 samples for 10 in passes of 4, and divides by 10: log(1.2) too much."""
    model, want = linear_gaussian()
    kwargs = {"n_mc_samples": 10, "n_mc_samples_per_pass": 4, "return_mean": False}
    torch.testing.assert_close(model.get_marginal_ll(**kwargs), want, rtol=1e-5, atol=1e-5)


def test_diagnostics_of_an_exact_encoder(linear_gaussian):
    model, want = linear_gaussian()
    diagnostics = model.get_marginal_ll(
        n_mc_samples=50, return_mean=False, return_diagnostics=True
    )
    assert isinstance(diagnostics, pd.DataFrame)
    np.testing.assert_allclose(diagnostics["log_px"], want, rtol=1e-5)
    np.testing.assert_allclose(diagnostics["effective_sample_size"], 50, rtol=1e-4)
    assert (diagnostics["standard_error"] < 1e-3).all()
    assert list(diagnostics.index) == list(model.adata.obs_names)
    some = model.get_marginal_ll(
        indices=[3, 1], n_mc_samples=5, return_mean=False, return_diagnostics=True
    )
    assert list(some.index) == list(model.adata.obs_names[[3, 1]])
    mean = model.get_marginal_ll(n_mc_samples=50, return_diagnostics=True)
    assert mean["log_px"] == pytest.approx(float(want.mean()), abs=1e-5)
    assert mean["effective_sample_size"] == pytest.approx(50, rel=1e-4)


@pytest.mark.slow
def test_standard_error_is_that_of_repeated_estimates(linear_gaussian):
    """A biased encoder: errors of 200 estimates are as large as each says of itself."""
    model, want = linear_gaussian(encoder_error=0.15)
    torch.manual_seed(0)
    runs = [
        model.get_marginal_ll(n_mc_samples=400, return_mean=False, return_diagnostics=True)
        for _ in range(200)
    ]
    estimates = np.stack([run["log_px"] for run in runs])
    stated = np.stack([run["standard_error"] for run in runs]).mean(0)
    np.testing.assert_allclose(stated, estimates.std(0), rtol=0.25)
    effective = np.stack([run["effective_sample_size"] for run in runs])
    assert (effective < 399).all()
    assert (effective > 40).all()
    z = (estimates.mean(0) - want.numpy()) / (estimates.std(0) / np.sqrt(len(runs)))
    assert abs(z.mean()) < 1.0  # the bias of a log is far below the error
    covered = np.abs(estimates - want.numpy()) < 2 * stated
    assert 0.90 < covered.mean() < 0.99


def test_error_of_the_mean(linear_gaussian):
    model, _ = linear_gaussian(encoder_error=0.15)
    torch.manual_seed(0)
    each = model.get_marginal_ll(n_mc_samples=20, return_mean=False, return_diagnostics=True)
    torch.manual_seed(0)
    mean = model.get_marginal_ll(n_mc_samples=20, return_diagnostics=True)
    assert mean["standard_error"] == pytest.approx(
        np.sqrt((each["standard_error"] ** 2).sum()) / len(each)
    )
    assert mean["effective_sample_size"] == each["effective_sample_size"].min()


@pytest.mark.parametrize("encoder_error", [0.0, 3.0])
def test_annealed_importance_sampling_is_right_where_the_encoder_is_not(
    linear_gaussian, encoder_error
):
    model, want = linear_gaussian(encoder_error=encoder_error)
    kwargs = {"return_mean": False, "return_diagnostics": True}
    annealed = model.get_marginal_ll(n_mc_samples=800, method="ais", **kwargs)
    np.testing.assert_allclose(annealed["log_px"], want, atol=1e-3)
    weighted = model.get_marginal_ll(n_mc_samples=800, **kwargs)
    assert weighted["trusted"].all() == (encoder_error == 0)
    assert not weighted["trusted"].any() or encoder_error == 0
    mean = model.get_marginal_ll(n_mc_samples=800, method="ais")
    assert mean == pytest.approx(float(want.mean()), abs=1e-3)


def test_unknown_method(linear_gaussian):
    model, _ = linear_gaussian()
    with pytest.raises(
        DataError, match=r"`method` is 'chib'; it must be one of 'iwae', 'ais'\.\n.*'iwae', 'ais'"
    ):
        model.get_marginal_ll(method="chib")


def test_from_a_dataloader(linear_gaussian):
    model, want = linear_gaussian()
    loader = model._make_data_loader(model.adata, batch_size=30)
    got = model.get_marginal_ll(dataloader=loader, n_mc_samples=4, return_mean=False)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="Only one of"):
        model.get_marginal_ll(model.adata, dataloader=loader)


# -- likelihood parameters --------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "normal"])
@pytest.mark.parametrize("n_samples", [1, 4])
@pytest.mark.parametrize("give_mean", [False, True])
def test_likelihood_parameters(adata, likelihood, n_samples, give_mean):
    """scvi-tools: AttributeError for Poisson and normal."""
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood=likelihood)
    model.module.eval()
    torch.manual_seed(0)
    got = model.get_likelihood_parameters(
        n_samples=n_samples, give_mean=give_mean, batch_size=25, indices=np.arange(40)
    )
    has = {"nb": {"dispersions"}, "zinb": {"dispersions", "dropout"}, "normal": {"dispersions"}}
    assert set(got) == {"mean"} | has.get(likelihood, set())
    torch.manual_seed(0)
    draws = []
    for tensors in model._make_data_loader(adata, indices=np.arange(40), batch_size=25):
        outputs = model.module(
            tensors, inference_kwargs={"n_samples": n_samples}, compute_loss=False
        )
        draws.append(outputs[1]["px"].get_normalized("mu").detach().numpy())
    want = np.concatenate(draws, axis=-2)
    want = want.mean(0) if give_mean and n_samples > 1 else want
    np.testing.assert_allclose(got["mean"], want, rtol=1e-5)
    scale = model.module.px_r.detach().exp().numpy()
    if "dispersions" in got:
        np.testing.assert_allclose(
            got["dispersions"], np.broadcast_to(scale, want.shape), rtol=1e-5
        )
    if "dropout" in got:
        assert ((got["dropout"] > 0) & (got["dropout"] < 1)).all()


# -- aggregated posterior ---------------------------------------------------------------------


@pytest.mark.parametrize("dof", [None, 3.0])
@pytest.mark.parametrize("indices", [None, [4, 2, 9], np.array([0, 1])])
def test_aggregated_posterior_is_the_mixture_of_the_posteriors(ours, dof, indices):
    mixture = ours.get_aggregated_posterior(indices=indices, dof=dof)
    loc, variance = ours.get_latent_representation(indices=indices, return_dist=True)
    at = np.random.default_rng(0).normal(size=(5, loc.shape[1])).astype(np.float32)
    scaled = (at[:, None] - loc) / np.sqrt(variance)
    density = scipy.stats.norm if dof is None else scipy.stats.t(dof)
    log_components = (density.logpdf(scaled) - 0.5 * np.log(variance)).sum(-1)
    want = scipy.special.logsumexp(log_components, axis=1) - np.log(len(loc))
    np.testing.assert_allclose(mixture.log_prob(torch.tensor(at)), want, rtol=1e-4)


def test_aggregated_posterior_of_an_untrained_model(adata):
    SCVI.setup_anndata(adata)
    with pytest.raises(RuntimeError, match="untrained model"):
        SCVI(adata).get_aggregated_posterior()
