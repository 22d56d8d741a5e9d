"""Free bits: the loss by hand, no gradient under the floor, and a history without a floor."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scvi
import torch
from scvi import REGISTRY_KEYS

from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.train import ELBO, FreeBits
from lucidvi.train.objectives._table import as_objective

N_LATENT = 4


def make_module(**kwargs):
    torch.manual_seed(0)
    settings = {"n_hidden": 8, "n_latent": N_LATENT, "dropout_rate": 0.0} | kwargs
    module = VAE(6, n_batch=2, use_batch_norm="none", gene_likelihood="nb", **settings)
    with torch.no_grad():  # dimensions from a KL of nearly nothing to one of some nats
        module.z_encoder.mean_encoder.weight.mul_(torch.tensor([[0.01], [2.0], [10.0], [40.0]]))
        module.z_encoder.mean_encoder.bias.zero_()
        module.z_encoder.var_encoder.weight.mul_(0.01)
        module.z_encoder.var_encoder.bias.zero_()
    return module


def minibatch(n=50):
    torch.manual_seed(1)
    return {
        REGISTRY_KEYS.X_KEY: torch.poisson(torch.full((n, 6), 4.0)),
        REGISTRY_KEYS.BATCH_KEY: torch.randint(2, (n, 1)),
        REGISTRY_KEYS.LABELS_KEY: torch.zeros(n, 1, dtype=torch.long),
    }


def plan_of(module, kl_weight=1.0):
    loss_kwargs = {"kl_weight": kl_weight}
    return SimpleNamespace(plain_module=module, forward=module, loss_kwargs=loss_kwargs)


def evaluate(module, objective, kl_weight=1.0):
    """Loss, with one and the same draws."""
    torch.manual_seed(2)
    return objective(plan_of(module, kl_weight), minibatch())[1]


def kl_by_hand(module):
    """Mean KL over the cells of each dimension, in numpy; the mean and the variance are heads."""
    torch.manual_seed(2)
    qz = module.inference(**module._get_inference_input(minibatch()))["qz"]
    loc, scale = qz.loc.detach().double().numpy(), qz.scale.detach().double().numpy()
    kl = 0.5 * (loc**2 + scale**2 - 1) - np.log(scale)
    return kl.mean(axis=0)


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
@pytest.mark.parametrize("nats", [0.0, 0.05, 0.5, 3.0, 100.0])
def test_loss_by_hand(nats, kl_weight):
    module = make_module()
    kl, losses = kl_by_hand(module), evaluate(module, FreeBits(nats), kl_weight)
    want = losses.reconstruction_loss_sum.item() / 50 + kl_weight * np.maximum(kl, nats).sum()
    assert losses.loss.item() == pytest.approx(want, rel=1e-5)
    plain = evaluate(module, ELBO(), kl_weight)
    assert losses.kl_local_sum.item() == plain.kl_local_sum.item()
    assert losses.reconstruction_loss_sum.item() == plain.reconstruction_loss_sum.item()
    assert (kl < 0.05).any()
    assert (kl > 3).any()


def test_no_gradient_of_the_kl_under_the_floor():
    """What is left is that of the reconstruction, dimension by dimension."""
    module, nats = make_module(), 0.5
    under = kl_by_hand(module) < nats
    assert 0 < under.sum() < N_LATENT

    def gradient(objective, kl_weight):
        module.zero_grad()
        evaluate(module, objective, kl_weight).loss.backward()
        heads = module.z_encoder.mean_encoder, module.z_encoder.var_encoder
        return torch.cat([head.weight.grad for head in heads], dim=1).clone()

    reconstruction, whole = gradient(ELBO(), 0.0), gradient(ELBO(), 1.0)
    free = gradient(FreeBits(nats), 1.0)
    torch.testing.assert_close(free[under], reconstruction[under], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(free[~under], whole[~under], rtol=1e-4, atol=1e-5)
    assert (whole - reconstruction).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize(
    "kwargs",
    [{"posterior": "full"}, {"posterior": "flow"}, {"prior": "mixture"}, {"prior": "vamp"}],
    ids=str,
)
def test_dimensions_that_depend_on_each_other_are_one_group(kwargs):
    module = make_module(**kwargs)
    plain = evaluate(module, ELBO())
    kl = plain.kl_local_sum.item() / 50
    missing = max(0.0, N_LATENT * 2 * kl - kl)
    above, below = (evaluate(module, FreeBits(nats)) for nats in (kl / 100, 2 * kl))
    assert above.loss.item() == pytest.approx(plain.loss.item(), rel=1e-6)
    assert below.loss.item() == pytest.approx(plain.loss.item() + missing, rel=1e-5)


def test_of_the_conditional_prior_each_dimension_counts():
    module = make_module(prior="conditional", prior_kwargs={"covariates": ("batch",)})
    with torch.no_grad():
        for weight in module.prior.parameters():
            weight.normal_(std=0.3)
    plain, free = evaluate(module, ELBO()), evaluate(module, FreeBits(0.5))
    torch.manual_seed(2)
    outputs = module(minibatch(), compute_loss=False)
    qz, pz = outputs[0]["qz"], outputs[1]["pz"]
    ratio = (qz.scale / pz.scale).square()
    kl = 0.5 * (ratio + ((qz.loc - pz.loc) / pz.scale).square() - 1 - ratio.log())
    missing = (0.5 - kl.mean(dim=0)).clamp(min=0).sum().item()
    assert missing > 0
    assert free.loss.item() == pytest.approx(plain.loss.item() + missing, rel=1e-5)


def test_the_history_has_the_true_elbo(adata):
    """A floor that no dimension reaches leaves only the reconstruction to be learned."""
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=N_LATENT)
    plan = {"free_bits": 50.0, "kl_warmup": 0.0}
    model.train(max_epochs=3, train_size=0.8, check_val_every_n_epoch=1, plan_kwargs=plan)
    history = {name: values.astype(float).iloc[-1, 0] for name, values in model.history.items()}
    for mode in ("train", "validation"):
        elbo = history[f"reconstruction_loss_{mode}"] + history[f"kl_local_{mode}"]
        assert history[f"elbo_{mode}"] == pytest.approx(elbo, rel=1e-6)
        assert history[f"kl_local_{mode}"] < 50
    assert history["validation_loss"] == pytest.approx(history["elbo_validation"], rel=1e-5)
    floor = history["reconstruction_loss_train"] + 50 * N_LATENT
    assert history["train_loss"] == pytest.approx(floor, rel=1e-5)


def test_short_form():
    assert as_objective("elbo", free_bits=0.3) == FreeBits(0.3)
    assert as_objective("free_bits") == FreeBits(0.5)
    assert as_objective("elbo", free_bits=0.0) == ELBO()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FreeBits(-0.1), "`free_bits` is -0.1; it is the KL in nats"),
        (lambda: FreeBits(math.nan), "`free_bits` is nan"),
        (lambda: FreeBits(math.inf), "`free_bits` is inf"),
        (lambda: as_objective("elbo", free_bits=-1), "`free_bits` is -1"),
        (lambda: as_objective("iwae", free_bits=0.5), "which needs the free-bits objective"),
        (lambda: as_objective("elbo", 2, 0.5), "`free_bits` is 0.5, .* SemiAmortized"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
