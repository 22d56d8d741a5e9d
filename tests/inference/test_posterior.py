"""Targets of real modules: the density is the model's own, whichever library it comes from."""

import numpy as np
import pytest
import scvi.model
import torch
from scvi import REGISTRY_KEYS

import lucidvi.model
from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget
from lucidvi.nn import frozen

SETTINGS = [
    {},
    {"gene_likelihood": "nb", "dispersion": "gene-batch"},
    {"gene_likelihood": "nb", "dispersion": "gene-label"},
    {"gene_likelihood": "zinb", "dispersion": "gene-cell"},
    {"gene_likelihood": "poisson"},
    {"gene_likelihood": "normal"},
    {"use_observed_lib_size": False},
    {"latent_distribution": "ln"},
    {"batch_representation": "embedding"},
]


@pytest.fixture
def pair(make_adata):
    """Return a function that makes a minibatch and the same module of both libraries."""

    def make(setup=None, n_cells=40, **kwargs):
        adata = make_adata(n_cells)
        scvi.model.SCVI.setup_anndata(
            adata, batch_key="batch", labels_key="label", **(setup or {})
        )
        theirs = scvi.model.SCVI(adata, n_hidden=8, n_latent=3, **kwargs)
        theirs.module.eval()
        ours = lucidvi.model.SCVI.from_scvi_model(theirs)
        (tensors,) = theirs._make_data_loader(adata, batch_size=n_cells)
        return tensors, ours.module, theirs.module

    return make


def latent(target, seed=0):
    torch.manual_seed(seed)
    return target.q0.sample((4,))


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_both_libraries_have_the_same_posterior(pair, kwargs, masked):
    setup = {"categorical_covariate_keys": ["site"], "continuous_covariate_keys": ["age"]}
    tensors, ours, theirs = pair(setup, **kwargs)
    genes = np.arange(20) % 3 > 0 if masked else None
    own, other = (PosteriorTarget.from_module(m, tensors, genes) for m in (ours, theirs))
    torch.testing.assert_close(own.q0.mean, other.q0.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.q0.stddev, other.q0.stddev, rtol=1e-4, atol=1e-4)
    z = latent(own)
    torch.testing.assert_close(own.log_joint(z), other.log_joint(z), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(own.prior.log_prob(z), other.prior.log_prob(z))


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
def test_likelihood_of_one_draw(pair, kwargs):
    """It is ours for both libraries, and with the prior makes up the density."""
    tensors, *modules = pair(**kwargs)
    x = torch.as_tensor(tensors[REGISTRY_KEYS.X_KEY])
    for module in modules:
        target = PosteriorTarget.from_module(module, tensors)
        z = latent(target)[0]
        px = target.likelihood(z)
        assert type(px).__module__.startswith("lucidvi.distributions")
        want = target.log_joint(z[None])[0] - target.prior.log_prob(z)
        torch.testing.assert_close(px.log_likelihood(target.x), want, rtol=1e-4, atol=1e-3)
        assert px.log_prob(x).shape == (40, 20)


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
def test_weights_are_those_of_the_module(pair, kwargs):
    """Through another way: the module's own importance weights, of other draws."""
    tensors, ours, _ = pair(**kwargs)
    target = PosteriorTarget.from_module(ours, tensors)
    want = ours.log_weights(tensors, 2000)
    z = target.q0.sample((2000,))
    got = target.evaluate(z) - target.q0.log_prob(z)
    error = (got.var(dim=0) / 2000 + want.var(dim=0) / 2000).sqrt()
    z_score = (got.mean(dim=0) - want.mean(dim=0)) / error
    assert float(z_score.abs().max()) < 4
    assert abs(float(z_score.mean())) < 4 / len(error) ** 0.5


def test_size_factors(pair):
    tensors, ours, theirs = pair({"size_factor_key": "size_factor"})
    for genes in (None, np.arange(20) < 12):
        own, other = (PosteriorTarget.from_module(m, tensors, genes) for m in (ours, theirs))
        z = latent(own)
        torch.testing.assert_close(own.log_joint(z), other.log_joint(z), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
def test_a_mask_is_a_model_of_the_measured_genes_alone(pair, likelihood):
    """Exposure and softmax over the measured genes: the decoder with the others' rows cut off."""
    tensors, ours, _ = pair(gene_likelihood=likelihood)
    genes = torch.arange(20) % 2 == 0
    target = PosteriorTarget.from_module(ours, tensors, genes)
    z = latent(target)
    x = tensors[REGISTRY_KEYS.X_KEY][:, genes]
    with torch.no_grad():
        total = target._decode(z)["rna"]
        scale = total.scale[..., genes]
        mu = x.sum(-1, keepdim=True) * scale / scale.sum(-1, keepdim=True)
        shape = {}
        if likelihood != "poisson":
            shape["theta"] = total.theta[..., genes]
        if likelihood == "zinb":
            shape["zi_logits"] = total.zi_logits[..., genes]
        name = {"nb": "NegativeBinomial", "zinb": "ZeroInflatedNegativeBinomial"}
        theirs = getattr(scvi.distributions, name.get(likelihood, "Poisson"))
        first = {"rate": mu} if likelihood == "poisson" else {"mu": mu}
        want = theirs(**first, **shape).log_prob(x).sum(-1) + target.prior.log_prob(z)
        torch.testing.assert_close(target.log_joint(z), want, rtol=1e-4, atol=1e-3)


def test_a_mask_of_all_genes_changes_nothing(pair):
    tensors, ours, _ = pair()
    all_genes = PosteriorTarget.from_module(ours, tensors, np.ones(20, bool))
    none_given = PosteriorTarget.from_module(ours, tensors)
    z = latent(none_given)
    torch.testing.assert_close(all_genes.log_joint(z), none_given.log_joint(z))


def test_counts_of_genes_that_were_not_measured_are_not_looked_at(pair):
    tensors, ours, _ = pair()
    genes = np.arange(20) < 15
    other = {**tensors, REGISTRY_KEYS.X_KEY: tensors[REGISTRY_KEYS.X_KEY].clone()}
    other[REGISTRY_KEYS.X_KEY][:, 15:] = 77.0
    one, two = (PosteriorTarget.from_module(ours, t, genes) for t in (tensors, other))
    z = latent(one)
    torch.testing.assert_close(one.q0.mean, two.q0.mean)
    torch.testing.assert_close(one.log_joint(z), two.log_joint(z))


def test_a_cell_without_a_measured_count_says_nothing(pair):
    tensors, ours, _ = pair()
    tensors[REGISTRY_KEYS.X_KEY][3, :5] = 0
    target = PosteriorTarget.from_module(ours, tensors, np.arange(20) < 5)
    z = latent(target)
    log_joint = target.log_joint(z)[:, 3]
    torch.testing.assert_close(log_joint, target.prior.log_prob(z)[:, 3], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "genes", [np.arange(20), np.ones(19, bool), np.zeros(20, bool)], ids=["int", "short", "none"]
)
def test_what_is_no_mask_is_an_error(pair, genes):
    tensors, ours, _ = pair()
    with pytest.raises(DataError, match=r"`genes` has the dtype.*\n.*shape \(20,\)"):
        PosteriorTarget.from_module(ours, tensors, genes)


def test_weights_are_frozen_for_as_long_as_it_takes(pair):
    _, ours, _ = pair()
    ours.px_r.requires_grad_(False)
    before = {name: weight.requires_grad for name, weight in ours.named_parameters()}
    with frozen(ours):
        assert not any(weight.requires_grad for weight in ours.parameters())
    assert before == {name: weight.requires_grad for name, weight in ours.named_parameters()}


def test_scanvi(adata):
    scvi.model.SCANVI.setup_anndata(adata, "label", "?", batch_key="batch")
    model = scvi.model.SCANVI(adata, n_hidden=8, n_latent=3)
    model.module.eval()
    (tensors,) = model._make_data_loader(adata, batch_size=adata.n_obs)
    target = PosteriorTarget.from_module(model.module, tensors)
    z = target.q0.sample((2,))
    assert torch.isfinite(target.log_joint(z)).all()
    assert target.n_state == 3
