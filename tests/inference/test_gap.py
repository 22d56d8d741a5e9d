"""The gaps against the exact ones."""

import pytest
import scvi.model
import torch

from lucidvi.inference import PosteriorTarget, _gap, ais, inference_gap, iwae, refine
from lucidvi.inference._gap import marginal_near
from lucidvi.inference._normal import NormalPosterior


@pytest.mark.parametrize("n_latent", [2, 10, 50])
@pytest.mark.parametrize("condition", ["well", "badly"])
@pytest.mark.parametrize("encoder", ["exact", "biased", "narrow"])
def test_gaps_of_a_linear_gaussian(linear_gaussian, n_latent, condition, encoder):
    target = linear_gaussian(n_latent, condition, encoder)
    gap = inference_gap(target, n_chains=16, n_temperatures=5)
    for name in ("amortization_gap", "approximation_gap"):
        error = getattr(gap, name) - getattr(target, name)
        assert abs(float(error.mean())) < 0.05
        assert float(error.abs().max()) < 0.1
    total = gap.marginal.log_px - gap.elbo
    torch.testing.assert_close(gap.amortization_gap + gap.approximation_gap, total)


def test_what_weights_say_of_a_better_normal(linear_gaussian, monkeypatch):
    """Draws of a normal far too narrow are not trusted; those of the next one are, and right."""
    target = linear_gaussian(3)
    exact = NormalPosterior.from_distribution(target.posterior)
    narrow = NormalPosterior(exact.loc, exact.scale_tril * 0.4)
    torch.manual_seed(0)
    first, *_ = _gap._weighted(target, narrow, 1_000, _gap.WIDER)
    assert not first.is_trusted.any()
    left = []

    def annealing(target, n_chains, proposal, n_temperatures):
        left.append(target.n_cells)
        return ais(target, n_chains, proposal, n_temperatures=n_temperatures)

    monkeypatch.setattr(_gap, "ais", annealing)
    estimate = marginal_near(target, narrow, 1_000)
    assert sum(left) < target.n_cells / 5
    error = (estimate.log_px - target.log_px) / estimate.standard_error
    assert float(error[estimate.is_trusted].abs().max()) < 4.5
    assert float(error.square().mean().sqrt()) < 1.5


@pytest.mark.parametrize("name", ["SCVI", "LinearSCVI", "SCANVI"])
def test_models_of_scvi_tools(name, adata):
    """They go through as they are, and two estimates of log p(x) agree."""
    model_cls = getattr(scvi.model, name)
    labels = {"labels_key": "label", "unlabeled_category": "?"} if name == "SCANVI" else {}
    model_cls.setup_anndata(adata, batch_key="batch", **labels)
    model = model_cls(adata, n_hidden=8, n_latent=3)
    model.module.eval()
    (tensors,) = model._make_data_loader(adata, batch_size=adata.n_obs)
    target = PosteriorTarget.from_module(model.module, tensors)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    for family in ("diagonal", "full"):
        refined = refine(target, family)
        assert (refined.elbo >= refined.elbo_before).all()
        assert refined.elbo.mean() > refined.elbo_before.mean() + 0.1
    gap, weighted = inference_gap(target), iwae(target, 5000, refined.posterior.distribution)
    trusted = gap.marginal.is_trusted & weighted.is_trusted
    assert trusted.double().mean() > 0.5
    error = (gap.marginal.standard_error.square() + weighted.standard_error.square()).sqrt()
    z_score = ((gap.marginal.log_px - weighted.log_px) / error)[trusted]
    assert float(z_score.abs().max()) < 5
    assert (gap.elbo <= gap.marginal.log_px + 5 * error).all()
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    assert all(weight.grad is None for weight in model.module.parameters())
