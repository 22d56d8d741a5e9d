"""The choice of a posterior, and targets that are joined to decode alone."""

import pytest
import torch

from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget, concatenated, posterior_of, refine
from lucidvi.model import SCVI


@pytest.fixture(scope="module", params=[True, False, "size"])
def targets(request, make_adata):
    """Return two targets of one module: with an observed, a latent library, and size factors."""
    adata = make_adata(30)
    size = "size_factor" if request.param == "size" else None
    SCVI.setup_anndata(
        adata, batch_key="batch", continuous_covariate_keys=["age"], size_factor_key=size
    )
    model = SCVI(adata, n_hidden=8, n_latent=2, use_observed_lib_size=request.param is not False)
    model.module.eval()
    loader = model._make_data_loader(adata=adata, indices=range(30), batch_size=20)
    return [PosteriorTarget.from_module(model.module, minibatch) for minibatch in loader]


def test_the_encoders_and_the_refined(targets):
    assert posterior_of(targets[0], "encoder") is targets[0].q0
    for family in ("diagonal", "full"):
        chosen, refined = posterior_of(targets[0], "refined", family), refine(targets[0], family)
        torch.testing.assert_close(chosen.mean, refined.posterior.loc)
        torch.testing.assert_close(chosen.scale_tril, refined.posterior.scale_tril)


def test_the_refined_one_of_a_linear_model_is_exact(linear_gaussian):
    target = linear_gaussian()
    refined = posterior_of(target, "refined")
    torch.testing.assert_close(refined.mean, target.posterior.mean, atol=1e-3, rtol=1e-3)


def test_other_choices_are_named(targets):
    with pytest.raises(DataError, match="`posterior` is 'prior'"):
        posterior_of(targets[0], "prior")
    with pytest.raises(DataError, match="`family` is 'round'"):
        posterior_of(targets[0], "refined", "round")


def test_joined_targets_decode_as_each_does(targets):
    joined = concatenated(targets)
    assert joined.n_cells == 30
    states = [target.q0.sample() for target in targets]
    with torch.no_grad():
        apart = torch.cat([t.likelihood(z).mean for t, z in zip(targets, states, strict=True)])
        torch.testing.assert_close(joined.likelihood(torch.cat(states)).mean, apart)
        some = torch.tensor([25, 3, 3])
        chosen = joined.select(some).likelihood(torch.cat(states)[some]).mean
        torch.testing.assert_close(chosen, apart[some])
    exposures = torch.cat([t.exposure(z) for t, z in zip(targets, states, strict=True)])
    torch.testing.assert_close(joined.exposure(torch.cat(states)), exposures)


def test_other_counts_at_the_same_exposure(targets):
    target = targets[0]
    x = torch.ones(target.n_cells, target.width)
    kept = target.with_counts(x).with_log_exposures(target.log_exposures)
    state = target.q0.mean
    assert torch.equal(kept.exposure(state), target.exposure(state))
    assert torch.equal(kept.q0.mean, target.with_counts(x).q0.mean)
