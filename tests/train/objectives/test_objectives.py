"""Objectives: their values and gradients against plain definitions."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from scvi import REGISTRY_KEYS
from torch.distributions import Normal

from lucidvi.module import VAE
from lucidvi.nn import log_density
from lucidvi.train import ELBO, ImportanceWeighted, SemiAmortized
from lucidvi.train.objectives import _semi_amortized
from lucidvi.train.objectives._table import as_objective

N_COPIES = 20_000


@dataclass
class Plan:
    """What an objective sees of a training plan."""

    plain_module: VAE
    kl_weight: float = 1.0
    max_kl_weight: float = 1.0
    loss_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.loss_kwargs = {"kl_weight": self.kl_weight}

    def forward(self, *args, **kwargs):
        return self.plain_module(*args, **kwargs)


def make_module(seed=0, **kwargs):
    torch.manual_seed(seed)
    settings = {"n_hidden": 8, "n_latent": 2, "dropout_rate": 0.0, "gene_likelihood": "nb"}
    if not kwargs.get("use_observed_lib_size", True):
        kwargs |= {
            "library_log_means": torch.full((1, 1), 3.0).numpy(),
            "library_log_vars": torch.full((1, 1), 0.2).numpy(),
        }
    return VAE(6, n_batch=1, use_batch_norm="none", **{**settings, **kwargs})


def copies(n=N_COPIES, seed=3):
    """One cell, many times: a mean over them is an expectation over draws."""
    torch.manual_seed(seed)
    x = torch.poisson(torch.full((1, 6), 4.0)).expand(n, -1).contiguous()
    zeros = torch.zeros(n, 1, dtype=torch.long)
    return {
        REGISTRY_KEYS.X_KEY: x,
        REGISTRY_KEYS.BATCH_KEY: zeros,
        REGISTRY_KEYS.LABELS_KEY: zeros,
    }


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return {n: w.grad.clone() for n, w in module.named_parameters() if w.grad is not None}


def naive_bound(module, tensors, n_samples, beta):
    """Importance-weighted bound with the plain reparameterized gradient."""
    inference, generative = module(
        tensors, inference_kwargs={"n_samples": n_samples}, compute_loss=False
    )
    log_weights = generative["px"].log_prob(tensors[REGISTRY_KEYS.X_KEY]).sum(dim=-1)
    z, qz = inference["untran_z"], inference["qz"]
    standard = Normal(torch.zeros_like(z), 1.0)
    log_weights = log_weights + beta * (log_density(standard, z) - log_density(qz, z))
    if inference["ql"] is not None:
        library, ql, pl = inference["library"], inference["ql"], generative["pl"]
        log_weights = log_weights + log_density(pl, library) - log_density(ql, library)
    return log_weights.logsumexp(dim=0) - math.log(n_samples)


@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"posterior": "full"}, {"posterior": "flow"}, {"use_observed_lib_size": False}],
    ids=str,
)
def test_importance_weighted_value_and_gradient(kwargs, beta):
    """Both gradients are unbiased for one: their means over halves of the draws agree."""
    module, tensors = make_module(**kwargs), copies()
    objective, plan = ImportanceWeighted(3), Plan(module, beta)
    torch.manual_seed(0)
    want = naive_bound(module, tensors, 3, beta).mean()
    _, losses = objective(plan, tensors)
    assert losses.loss.item() == pytest.approx(-want.item(), abs=0.02)
    few = copies(2000)
    torch.manual_seed(1)
    ours = repeated(lambda: objective(plan, few)[1].loss, module)
    naive = repeated(lambda: -naive_bound(module, few, 3, beta).mean(), module)
    assert ours.keys() == naive.keys()
    for name, (mean, error) in ours.items():
        other, other_error = naive[name]
        allowed = 5 * (error.square() + other_error.square()).sqrt() + 1e-6
        assert ((mean - other).abs() < allowed).all(), name


def repeated(loss, module, n=12):
    """Mean and standard error of gradients over repetitions."""
    found = [gradients(module, loss()) for _ in range(n)]
    stacked = {name: torch.stack([g[name] for g in found]) for name in found[0]}
    return {k: (v.mean(dim=0), v.std(dim=0) / n**0.5) for k, v in stacked.items()}


def test_importance_weighted_gradient_keeps_its_signal():
    """With many draws the naive gradient of the encoder is mostly noise."""
    module = make_module()
    plan, tensors = Plan(module), copies(20)
    name = "z_encoder.mean_encoder.weight"

    def spread(loss):
        return torch.stack([gradients(module, loss())[name] for _ in range(60)]).std(dim=0).mean()

    ours = spread(lambda: ImportanceWeighted(64)(plan, tensors)[1].loss)
    naive = spread(lambda: -naive_bound(module, tensors, 64, 1.0).mean())
    assert ours < naive / 3


def test_importance_weighted_terms_are_those_of_the_elbo():
    module, tensors = make_module(), copies()
    _, losses = ImportanceWeighted(2)(Plan(module), tensors)
    _, _, want = module(tensors)
    assert losses.reconstruction_loss["reconstruction_loss"].mean().item() == pytest.approx(
        want.reconstruction_loss["reconstruction_loss"].mean().item(), abs=0.05
    )
    assert losses.kl_local["kl_divergence_z"].mean().item() == pytest.approx(
        want.kl_local["kl_divergence_z"].mean().item(), abs=0.05
    )


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"posterior": "full"}, {"use_observed_lib_size": False}],
    ids=str,
)
def test_semi_amortized_gradient_without_steps_is_that_of_the_elbo(kwargs, monkeypatch):
    monkeypatch.setattr(_semi_amortized, "step_means", lambda target, first, n_steps: first)
    module, tensors = make_module(**kwargs), copies(2000)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    plan = Plan(module)
    want = repeated(lambda: module(tensors)[2].loss, module)
    got = repeated(lambda: SemiAmortized()(plan, tensors)[1].loss, module)
    assert set(want) == set(got)
    for name, (mean, error) in want.items():
        other, other_error = got[name]
        allowed = 5 * (error.square() + other_error.square()).sqrt() + 1e-5
        assert ((mean - other).abs() < allowed).all(), name
    for name, weight in module.state_dict().items():
        assert weight.equal(before[name]), name
    assert all(weight.requires_grad for weight in module.parameters())


def test_semi_amortized_decoder_learns_from_better_posteriors():
    module, tensors = make_module(), copies(500)
    with torch.no_grad():
        module.decoder.px_scale_decoder[0].weight.mul_(8.0)
        module.z_encoder.mean_encoder.bias.add_(2.0)  # an encoder that is off
    amortized = -module(tensors)[2].loss
    generative, losses = SemiAmortized(5)(Plan(module), tensors)
    log_px_z = generative["px"].log_likelihood(tensors[REGISTRY_KEYS.X_KEY]).mean()
    assert log_px_z > -losses.reconstruction_loss["reconstruction_loss"].mean() + 1
    assert losses.loss.item() == pytest.approx(-amortized.item(), rel=0.05)


def test_semi_amortized_waits_for_the_kl_term():
    module, tensors = make_module(), copies(50)
    torch.manual_seed(0)
    _, early = SemiAmortized(2)(Plan(module, kl_weight=0.5), tensors)
    torch.manual_seed(0)
    _, want = ELBO()(Plan(module, kl_weight=0.5), tensors)
    assert early.loss.equal(want.loss)


def test_modes_are_left_as_they_were():
    module = VAE(6, n_batch=1, n_hidden=8, n_latent=2)
    module.train()
    module.decoder.eval()  # as surgery freezes batch norm
    before = [layer.training for layer in module.modules()]
    statistics = module.z_encoder.encoder.fc_layers[0][1].running_mean.clone()
    SemiAmortized()(Plan(module), copies(20))
    assert [layer.training for layer in module.modules()] == before
    assert not statistics.equal(module.z_encoder.encoder.fc_layers[0][1].running_mean)


def test_objectives_by_name():
    assert as_objective("elbo") == ELBO()
    assert as_objective("iwae") == ImportanceWeighted(n_samples=5)
    assert as_objective("elbo", refine_steps=3) == SemiAmortized(n_steps=3)
    assert as_objective("semi_amortized", refine_steps=3) == SemiAmortized(n_steps=3)
    assert as_objective(ImportanceWeighted(7)) == ImportanceWeighted(7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: as_objective("evidence"), "`objective` is 'evidence'; it must be one of 'elbo'"),
        (lambda: as_objective("iwae", 2), "`refine_steps` is 2, which needs the semi-amortized"),
        (lambda: as_objective("elbo", -1), "`n_steps` .* is -1; at least 1"),
        (lambda: ImportanceWeighted(1), "`n_samples` .* is 1; it must be at least 2"),
        (lambda: SemiAmortized(0), "`n_steps` .* is 0; at least 1"),
    ],
)
def test_what_cannot_be_an_objective(make, message):
    with pytest.raises(ValueError, match=message):
        make()
