"""A module that starts at factors is their linear encoder and log-linear decoder."""

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import Callback

from lucidvi.model import SCVI
from lucidvi.module import VAE, _practised

N_GENES, N_LATENT = 12, 3


@pytest.fixture
def directions():
    generator = torch.Generator().manual_seed(1)
    x = torch.poisson(torch.full((60, N_GENES), 3.0), generator)
    y = x.log1p()
    basis = torch.linalg.svd(y - y.mean(dim=0), full_matrices=False)
    return x, basis.Vh[:N_LATENT].T * 60**0.5 / basis.S[:N_LATENT]


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("norm", ["both", "none"])
@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_the_networks_are_linear(directions, n_layers, norm, posterior, monkeypatch):
    """Without the other units; batch norm then takes the mean of what has variance one."""
    monkeypatch.setattr(_practised, "OTHERS", 0.0)
    x, w = directions
    torch.manual_seed(0)
    module = VAE(
        N_GENES,
        n_hidden=16,
        n_latent=N_LATENT,
        n_layers=n_layers,
        dropout_rate=0.0,
        use_batch_norm=norm,
        posterior=posterior,
        gene_likelihood="nb",
    )
    loadings = torch.randn(N_GENES, N_LATENT)
    if norm == "none":  # nothing else takes the other units' constants off
        for layers in (module.z_encoder.encoder, module.decoder.px_decoder):
            for block in layers.fc_layers:
                block[0].bias.data.zero_()
    module.start_from_factors(w, loadings)
    scores = x.log1p() @ w
    want = scores - scores.mean(dim=0) if norm == "both" else scores
    loc = module.z_encoder(x.log1p()).loc
    torch.testing.assert_close(loc, want, rtol=0.02, atol=0.02)
    z = (want - want.mean(dim=0)) / want.std(dim=0, correction=0)
    logits = module.decoder(z)["logits"] - module.decoder.px_scale_decoder[0].bias
    torch.testing.assert_close(logits, z @ loadings.T, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    ("kwargs", "n_factors"),
    [
        ({}, 10),
        ({"n_hidden": 6}, 3),
        ({"n_latent": 4, "gene_likelihood": "zinb"}, 4),
        ({"latent_distribution": "ln"}, 0),
        ({"use_size_factor_key": True}, 0),
        ({"gene_likelihood": "normal"}, 0),
        ({"n_batch": 2}, 0),
    ],
)
def test_how_many_a_module_starts_at(kwargs, n_factors):
    assert VAE(N_GENES, **kwargs).n_factors == n_factors


class FirstWeights(Callback):
    """Weights before the first step."""

    def on_train_start(self, trainer, plan):
        self.weights = {n: w.detach().clone() for n, w in plan.module.named_parameters()}


def first_weights(adata, batch_key=None, model=None, **plan):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key=batch_key)
    model = model or SCVI(adata, n_hidden=16, n_latent=4)
    first = FirstWeights()
    model.train(max_epochs=1, plan_kwargs=plan, callbacks=[first])
    return first.weights, model


def changed(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_a_new_model_starts_there(adata):
    factors, model = first_weights(adata, start_from_factors=True)
    random, _ = first_weights(adata)
    assert changed(factors, random) == {
        "z_encoder.encoder.fc_layers.Layer 0.0.weight",
        "z_encoder.mean_encoder.weight",
        "z_encoder.mean_encoder.bias",
        "z_encoder.var_encoder.bias",
        "decoder.px_decoder.fc_layers.Layer 0.0.weight",
        "decoder.px_scale_decoder.0.weight",
    }
    learned = {n: w.detach().clone() for n, w in model.module.named_parameters()}
    again, _ = first_weights(adata, model=model, start_from_factors=True)
    assert not changed(learned, again)


def test_with_batches_it_does_not(adata):
    asked_for, _ = first_weights(adata, batch_key="batch", start_from_factors=True)
    random, _ = first_weights(adata, batch_key="batch")
    assert not changed(asked_for, random)


def test_it_gains_what_epochs_would(make_adata):
    """Cells of two kinds: loss in the first epoch, at a rate of zero."""
    adata = make_adata(200)
    x = np.asarray(adata.to_df()) + 1
    x[:100, :5] *= 8
    adata.X = x
    losses = []
    for is_on in (True, False):
        plan = {"lr": 0.0, "start_from_factors": is_on, "kl_warmup": 0.0}
        _, model = first_weights(adata, **plan)
        losses.append(model.history["reconstruction_loss_train"].iloc[0, 0])
    assert losses[0] < losses[1]
