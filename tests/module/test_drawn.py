"""Drawn states: what `forward` decodes, row by row, some at a time, and in other batches."""

import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS

from lucidvi._random import isolated
from lucidvi.model import SCVI
from lucidvi.module import DrawnStates, _drawn
from lucidvi.nn import _decoder

MODELS = {
    "nb": {"gene_likelihood": "nb"},
    "zinb, dispersions by batch": {"dispersion": "gene-batch"},
    "latent library": {"use_observed_lib_size": False, "gene_likelihood": "nb"},
    "logistic normal": {"latent_distribution": "ln"},
    "embedded batches": {"batch_representation": "embedding"},
    "vamp": {"prior": "vamp"},
    "rotated": {"rotated": True},
}


@pytest.fixture
def module_of(make_adata):
    """Return a function that makes a module and a minibatch of eleven cells."""

    def make(**kwargs):
        adata = make_adata(40)
        adata.obs["size"] = np.linspace(0.5, 2, 40)
        size = {"size_factor_key": "size"} if kwargs.pop("size_factor", False) else {}
        SCVI.setup_anndata(adata, batch_key="batch", **size)
        model = SCVI(adata, n_hidden=8, n_latent=3, **kwargs)
        model.module.eval()
        loader = model._make_data_loader(adata, indices=range(11), batch_size=11)
        return model.module, next(iter(loader))

    return make


@pytest.mark.parametrize("n_samples", [1, 4])
@pytest.mark.parametrize("name", [*MODELS, "size factor"])
@torch.inference_mode()
def test_they_are_those_of_a_forward_pass(module_of, name, n_samples):
    kwargs = {"size_factor": True} if name == "size factor" else MODELS[name]
    module, tensors = module_of(**kwargs)
    with isolated(0):
        states = module.drawn(tensors, n_samples)
    for code in (None, 1):
        with isolated(0):
            _, outputs = module.forward(
                tensors,
                inference_kwargs={"n_samples": n_samples},
                generative_kwargs={"transform_batch": code},
                compute_loss=False,
            )
        want, got = outputs["px"], states.in_batch(code).likelihood()
        assert len(states) == n_samples * 11
        for values in ("mu", "normalized"):
            rows = getattr(want, values).reshape(len(states), -1)
            torch.testing.assert_close(getattr(got, values), rows, rtol=1e-5, atol=1e-8)
        for parameter in want.parameters:
            rows = want.parameter(parameter).reshape(len(states), -1)
            torch.testing.assert_close(got.parameter(parameter), rows, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_some_of_them_are_decoded_alike(module_of, monkeypatch):
    module, tensors = module_of()
    states = module.drawn(tensors, 3)
    whole = states.likelihood().mu
    monkeypatch.setattr(_drawn, "BLOCK_ON_CPU", 100)
    monkeypatch.setattr(_drawn, "FEWEST", 4)
    blocks = list(states.blocks())
    assert [(b.start, b.stop) for b in blocks] == [(i, min(i + 5, 33)) for i in range(0, 33, 5)]
    parts = torch.cat([states.select(block).likelihood().mu for block in blocks])
    torch.testing.assert_close(parts, whole)
    some = torch.tensor([30, 2, 2])
    torch.testing.assert_close(states.select(some).likelihood().mu, whole[some])
    joined = DrawnStates.concatenate([states.select(slice(0, 10)), states.select(slice(10, 33))])
    torch.testing.assert_close(joined.likelihood().mu, whole)


def test_heads_that_nobody_asks_for_are_not_evaluated(module_of, monkeypatch):
    """Normalized expression costs one product; with a gradient nothing waits."""
    module, tensors = module_of(gene_likelihood="zinb")
    asked, head = [], module.decoder.px_dropout_decoder

    def apply(layer, hidden):
        asked.append(layer)
        return layer(hidden)

    monkeypatch.setattr(_decoder, "_apply", apply)
    with torch.inference_mode():
        px = module.drawn(tensors).likelihood()
        _ = px.normalized, px.mu
        assert head not in asked
        _ = px.mean
        assert asked.count(head) == 1
        _ = px.variance, px.zi_logits
        assert asked.count(head) == 1
    asked.clear()
    px = module.forward(tensors, compute_loss=False)[1]["px"]
    assert head in asked
    assert px.zi_logits.requires_grad


def test_what_waits_has_no_gradient(module_of):
    module, tensors = module_of(gene_likelihood="nb")
    with torch.no_grad():
        px = module.drawn(tensors).likelihood()
    assert not px.log_theta.requires_grad
    assert module.px_r.requires_grad
    assert not px.log_likelihood(tensors[REGISTRY_KEYS.X_KEY]).requires_grad
