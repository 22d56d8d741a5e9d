"""Posteriors by a linear decoder, against refinement, whose bounds are evaluated."""

import pytest
import torch

from lucidvi.errors import DataError
from lucidvi.inference import (
    NormalPosterior,
    PosteriorTarget,
    linearized,
    orthogonal_draws,
    refine,
)
from lucidvi.model import SCVI

LIKELIHOODS = ["nb", "zinb", "poisson"]
OTHERS = [{}, {"n_layers": 2}, {"use_observed_lib_size": False}]


@pytest.fixture
def target_of(adata):
    def make(epochs=0, **kwargs):
        SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
        model = SCVI(adata, n_latent=3, n_hidden=16, **kwargs)
        if epochs:
            model.train(max_epochs=epochs, plan_kwargs={"warn_collapse": False})
        model.module.eval()
        (tensors,) = model._make_data_loader(adata, batch_size=adata.n_obs)
        return PosteriorTarget.from_module(model.module, tensors)

    return make


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_expansion_is_that_of_the_log_joint_where_the_posterior_is_narrow(target_of, likelihood):
    """Against central differences: a decoder that is linear over a tiny normal."""
    target = target_of(gene_likelihood=likelihood, use_observed_lib_size=False)
    loc, width = target.q0.mean, 1e-2
    narrow = NormalPosterior(loc, width * torch.eye(target.n_state).expand(len(loc), -1, -1))
    draws = orthogonal_draws(8, target.n_state).to(loc)
    value, slope, curvature = target.expand(narrow, draws)
    (at, gradient) = target.evaluate_with_gradient(loc[None])
    torch.testing.assert_close(value, at[0], rtol=1e-4, atol=1e-2)
    close = (slope - width * gradient[0]).norm() / (width * gradient[0]).norm()
    assert float(close) < 0.02
    assert curvature.shape == (len(loc), target.n_state, target.n_state)
    torch.testing.assert_close(curvature, curvature.mT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kwargs", [{}, {"n_layers": 2}, {"use_observed_lib_size": False}], ids=str
)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_as_good_as_a_refined_posterior(target_of, likelihood, kwargs):
    target = target_of(20, gene_likelihood=likelihood, **kwargs)
    draws = orthogonal_draws(400, target.n_state, seed=9)
    first = NormalPosterior.from_distribution(target.q0)
    before = first.elbo(target, draws)
    for family in ("diagonal", "full"):
        best = refine(target, family, n_draws=200, tolerance=1e-2).posterior.elbo(target, draws)
        found = linearized(target, family).elbo(target, draws)
        assert float((best - found).mean()) < 0.05 + 0.1 * float((best - before).mean())
        assert float((best - found).max()) < 1


def test_a_cell_does_not_depend_on_the_others(target_of):
    target = target_of(gene_likelihood="zinb")
    every = linearized(target)
    some = torch.tensor([7, 3, 20])
    alone = linearized(target.select(some))
    torch.testing.assert_close(alone.loc, every.loc[some], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alone.scale, every.scale[some], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_expanded_is_refined(target_of, linear_gaussian):
    target = linear_gaussian(3, "well", "biased")
    found, refined = linearized(target, "full"), refine(target, "full").posterior
    torch.testing.assert_close(found.loc, refined.loc)
    target = target_of(gene_likelihood="normal")
    torch.testing.assert_close(linearized(target).loc, refine(target).posterior.loc)
    with pytest.raises(DataError, match="family"):
        linearized(target, "round")


def test_beyond_the_range_of_compiled_code_it_is_refined(target_of, monkeypatch):
    target = target_of(gene_likelihood="nb")
    expand = type(target).expand

    def out_of_range(self, *arguments):
        value, *others = expand(self, *arguments)
        return value.index_fill(0, torch.tensor([2]), torch.nan), *others

    monkeypatch.setattr(type(target), "expand", out_of_range)
    torch.testing.assert_close(linearized(target).loc, refine(target).posterior.loc)
