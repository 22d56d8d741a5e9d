"""States by the decoder's last layer: the same numbers as by autograd over all genes."""

import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS

from lucidvi.inference import PosteriorTarget, Target, shift_slopes
from lucidvi.inference import _by_last_layer as by_last_layer
from lucidvi.kernels import plain_torch
from lucidvi.model import SCVI
from lucidvi.module import VAE

COMPILED = {
    "nb": {"gene_likelihood": "nb"},
    "poisson": {"gene_likelihood": "poisson"},
    "by batch": {"gene_likelihood": "nb", "dispersion": "gene-batch"},
    "by label": {"gene_likelihood": "nb", "dispersion": "gene-label"},
    "latent library": {"gene_likelihood": "nb", "use_observed_lib_size": False},
    "logistic normal": {"gene_likelihood": "nb", "latent_distribution": "ln"},
    "embedding": {"gene_likelihood": "nb", "batch_representation": "embedding"},
    "two layers": {"gene_likelihood": "nb", "n_layers": 2},
    "vamp": {"gene_likelihood": "nb", "prior": "vamp"},
    "zinb": {"gene_likelihood": "zinb"},
    "zinb by batch": {"gene_likelihood": "zinb", "dispersion": "gene-batch"},
    "zinb by label": {"gene_likelihood": "zinb", "dispersion": "gene-label"},
    "zinb, latent library": {"gene_likelihood": "zinb", "use_observed_lib_size": False},
}
OTHERS = {
    "zinb by cell": {"gene_likelihood": "zinb", "dispersion": "gene-cell"},
    "normal": {"gene_likelihood": "normal"},
    "by cell": {"gene_likelihood": "nb", "dispersion": "gene-cell"},
}


@pytest.fixture
def target_of(adata):
    def make(features=None, **kwargs):
        SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
        model = SCVI(adata, n_latent=3, n_hidden=16, **kwargs)
        model.module.eval()
        (tensors,) = model._make_data_loader(adata, batch_size=adata.n_obs)
        return PosteriorTarget.from_module(model.module, tensors, features)

    return make


def assert_same(target, n_states):
    torch.manual_seed(0)
    state = target.q0.sample((n_states,))
    value, gradient = target.evaluate_with_gradient(state)
    want_value, want = Target.evaluate_with_gradient(target, state)
    torch.testing.assert_close(value, want_value, rtol=2e-6, atol=1e-3)
    assert float((gradient - want).abs().max() / want.abs().max()) < 1e-4
    torch.testing.assert_close(target.evaluate(state), want_value, rtol=2e-6, atol=1e-3)


@pytest.mark.parametrize("n_states", [2, 80])
@pytest.mark.parametrize("name", COMPILED)
def test_same_as_autograd(target_of, name, n_states, monkeypatch):
    monkeypatch.setattr(by_last_layer, "N_HIDDEN", 16 * n_states * 7)  # seven cells at once
    target = target_of(**COMPILED[name])
    assert target.prepared is not None
    assert_same(target, n_states)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_measured_genes(target_of, adata, likelihood):
    measured = np.arange(adata.n_vars) % 3 > 0
    target = target_of(measured, gene_likelihood=likelihood)
    assert target.prepared is not None
    assert_same(target, 4)


def test_a_latent_exposure_is_that_of_all_genes(target_of, adata):
    measured = np.arange(adata.n_vars) % 3 > 0
    target = target_of(measured, gene_likelihood="nb", use_observed_lib_size=False)
    assert target.prepared is None


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_left_to_autograd(target_of, name):
    target = target_of(**OTHERS[name])
    assert target.prepared is None
    assert_same(target, 2)


def test_training_plain_torch_and_other_decoders(target_of, monkeypatch):
    target = target_of(gene_likelihood="nb")
    target.module.train()
    assert target.prepared is None
    target = target_of(gene_likelihood="nb")
    with plain_torch():
        assert target.prepared is None

    class Other(VAE):
        def decode_latent(self, z, s, log_exposure):
            return super().decode_latent(2 * z, s, log_exposure)

    target = target_of(gene_likelihood="nb")
    target.module.__class__ = Other
    assert target.prepared is None
    assert_same(target, 2)


def test_beyond_its_range_the_reference_takes_over(target_of):
    target = target_of(gene_likelihood="nb", use_observed_lib_size=False)
    state = target.q0.sample((2,))
    state[0, :, -1] = 70.0
    value = target.evaluate(state)
    assert torch.isfinite(value).all()
    torch.testing.assert_close(value, Target.evaluate(target, state))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["nb", "poisson", "zinb"])
def test_slopes_of_shifts(target_of, adata, name, masked):
    measured = np.arange(adata.n_vars) % 3 > 0 if masked else None
    target = target_of(measured, gene_likelihood=name)
    torch.manual_seed(0)
    state, shift = target.q0.sample(), torch.randn(adata.n_vars) / 3
    value, slope = shift_slopes(target, state)(shift)
    log_shift = shift.clone().requires_grad_()
    of_cells = target.with_shift(log_shift).log_joint(state[None])
    (want,) = torch.autograd.grad(of_cells.sum(), log_shift)
    torch.testing.assert_close(value, of_cells.detach().double().sum(), rtol=2e-6, atol=1e-3)
    torch.testing.assert_close(slope, want, rtol=1e-3, atol=1e-2)
    assert REGISTRY_KEYS.BATCH_KEY in target.covariates
