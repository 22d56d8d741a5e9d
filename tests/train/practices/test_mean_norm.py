"""Norm of the means: batch norm of torch, folded away, and the KL that it keeps up."""

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import Callback
from scvi.train import SaveCheckpoint
from torch import nn

from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.train import MeanNorm, TrainingPlan

N_LATENT = 3


def make_module(**kwargs):
    torch.manual_seed(0)
    return VAE(8, n_batch=1, n_hidden=8, n_latent=N_LATENT, dropout_rate=0.0, **kwargs).train()


def batch_norm(layer, std, shift):
    """Batch norm of torch with a fixed scale, and its shift."""
    norm = nn.BatchNorm1d(N_LATENT, momentum=None).train()
    with torch.no_grad():
        norm.weight.fill_(std)
        norm.bias.copy_(shift)
    return nn.Sequential(layer, norm)


@pytest.mark.parametrize("std", [0.3, 1.0])
def test_it_is_batch_norm_with_a_fixed_scale(std):
    """The shift is the mean that the layer's bias gives."""
    module = make_module()
    hidden, layer = torch.randn(200, 8), module.z_encoder.mean_encoder
    want = batch_norm(layer, std, layer(hidden).mean(dim=0))(hidden)
    norm = MeanNorm(std)
    with norm.in_place(module.z_encoder):
        got = module.z_encoder.posterior(hidden).loc
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.detach().std(dim=0, correction=0), std, rtol=1e-3)


def test_folding_changes_no_output():
    """After it the linear layer is what batch norm with its statistics was."""
    module = make_module()
    hidden, layer = 3 * torch.randn(500, 8) + 1, module.z_encoder.mean_encoder
    norm = MeanNorm(0.4)
    with norm.in_place(module.z_encoder):
        module.z_encoder.posterior(hidden)
    reference = batch_norm(layer, 0.4, layer(hidden).mean(dim=0))
    reference(hidden)  # its running statistics are those of these cells
    reference[1].running_var *= 499 / 500  # torch's are of a sample
    others = torch.randn(50, 8)
    want = reference.eval()(others).detach()
    norm.fold(module.z_encoder.mean_encoder)
    module.eval()
    got = module.z_encoder.posterior(others).loc.detach()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    means = layer(hidden).detach()
    np.testing.assert_allclose(means.std(dim=0, correction=0), 0.4, rtol=1e-4)


def test_folding_again_changes_nothing():
    module = make_module()
    norm = MeanNorm(0.4)
    norm.fold(module.z_encoder.mean_encoder)  # of no cells
    with norm.in_place(module.z_encoder):
        module.z_encoder.posterior(torch.randn(500, 8))
    norm.fold(module.z_encoder.mean_encoder)
    weight = module.z_encoder.mean_encoder.weight.detach().clone()
    norm.fold(module.z_encoder.mean_encoder)
    torch.testing.assert_close(module.z_encoder.mean_encoder.weight, weight, rtol=1e-4, atol=0)


def test_neither_names_nor_evaluation_know_of_it():
    module = make_module()
    names, hidden = list(module.state_dict()), torch.randn(20, 8)
    norm = MeanNorm(0.4)
    with norm.in_place(module.z_encoder):
        assert list(module.state_dict()) == names
        module.eval()
        got = module.z_encoder.posterior(hidden).loc
    torch.testing.assert_close(got, module.z_encoder.mean_encoder(hidden))
    assert module.z_encoder.change_means is None


class Stop(Callback):
    """Interrupts in the middle of an epoch."""

    def on_train_batch_end(self, trainer, plan, outputs, batch, batch_idx):
        if trainer.current_epoch == 14 and batch_idx == 1:
            raise RuntimeError("interrupted")


def make_model(make_adata, **kwargs):
    scvi.settings.seed = 0
    adata = make_adata(200)
    SCVI.setup_anndata(adata)
    settings = {"n_hidden": 16, "n_latent": N_LATENT, "dropout_rate": 0.0} | kwargs
    return SCVI(adata, use_batch_norm="none", **settings)


def train(model, std=0.5, plan=None, **kwargs):
    plan = {"mean_norm": std, "kl_warmup": 0.0, "minibatches_per_step": 2} | (plan or {})
    settings = {"max_epochs": 20, "batch_size": 50, "train_size": 1.0} | kwargs
    model.train(plan_kwargs=plan, **settings)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
@pytest.mark.parametrize("std", [0.3, 0.7])
def test_means_of_the_training_cells(make_adata, std, posterior):
    """As promised, in evaluation; and the KL has its lower bound."""
    model = make_model(make_adata, posterior=posterior)
    train(model, std)
    means, _ = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(means.std(axis=0), std, rtol=0.05)
    bound = 0.5 * (means**2).mean(axis=0).sum()
    assert bound > 0.45 * N_LATENT * std**2
    assert model.history["kl_local_train"].astype(float).iloc[-1, 0] >= 0.99 * bound


def test_without_it_they_are_others(make_adata):
    model = make_model(make_adata)
    model.train(max_epochs=20, batch_size=50, train_size=1.0, plan_kwargs={"kl_warmup": 0.0})
    means, _ = model.get_latent_representation(return_dist=True)
    assert (np.abs(means.std(axis=0) - 0.5) > 0.1).any()


def test_interrupted_and_resumed(make_adata):
    model = make_model(make_adata)
    names = list(model.module.state_dict())
    with pytest.raises(RuntimeError, match="interrupted"):
        train(model, callbacks=[Stop()])
    assert list(model.module.state_dict()) == names
    assert model.module.z_encoder.change_means is None
    model.module.eval()
    model.is_trained_ = True
    # Folded after each step, not only at the end.
    np.testing.assert_allclose(model.get_latent_representation().std(axis=0), 0.5, rtol=0.25)
    train(model, max_epochs=10)
    np.testing.assert_allclose(model.get_latent_representation().std(axis=0), 0.5, rtol=0.1)


def test_files_and_scvi_tools(make_adata, tmp_path):
    model = make_model(make_adata)
    train(model)
    want = model.get_latent_representation()
    model.save(tmp_path / "model")
    loaded = SCVI.load(tmp_path / "model", adata=model.adata)
    np.testing.assert_array_equal(loaded.get_latent_representation(), want)
    theirs = model.to_scvi_model()
    np.testing.assert_allclose(theirs.get_latent_representation(), want, rtol=1e-4, atol=1e-4)


def test_checkpoints_and_early_stopping(make_adata, tmp_path):
    model = make_model(make_adata)
    checkpoint = SaveCheckpoint(dirpath=str(tmp_path), monitor="elbo_validation")
    train(
        model,
        max_epochs=4,
        train_size=0.8,
        early_stopping=True,
        check_val_every_n_epoch=1,
        enable_checkpointing=True,
        callbacks=[checkpoint],
    )
    saved = SCVI.load(checkpoint.best_model_path, adata=model.adata)
    means = saved.get_latent_representation(indices=model.train_indices)
    np.testing.assert_allclose(means.std(axis=0), 0.5, rtol=0.5)


def test_a_compiled_module(make_adata):
    """With steps of the encoder alone, which change what has a gradient."""
    model = make_model(make_adata)
    compiled = {"compile": True, "compile_kwargs": {"backend": "eager"}, "encoder_steps": 2}
    train(model, plan=compiled)
    np.testing.assert_allclose(model.get_latent_representation().std(axis=0), 0.5, rtol=0.05)


@pytest.mark.filterwarnings("ignore:Last batch will have a small size")
def test_a_minibatch_of_one_cell(make_adata):
    model = make_model(make_adata)
    train(model, batch_size=199, max_epochs=3)
    assert np.isfinite(model.get_latent_representation()).all()
    norm = MeanNorm(0.5)
    alone = torch.randn(1, N_LATENT)
    assert torch.equal(norm(alone), alone)


@pytest.mark.parametrize("std", [0, -0.5, 1.5, float("nan")])
def test_what_cannot_be_a_standard_deviation(std):
    with pytest.raises(ValueError, match=f"`mean_norm` is {std}; .* at most 1"):
        TrainingPlan(make_module(), mean_norm=std)


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"posterior": "flow"}, "its posterior is that of a FlowEncoder"),
        ({"prior": "mixture"}, "its prior is a NormalMixture"),
        ({"prior": "vamp"}, "its prior is a VampPrior"),
    ],
)
def test_models_whose_kl_it_cannot_keep_up(kwargs, problem):
    with pytest.raises(ValueError, match=f"`mean_norm` cannot be used .*{problem}"):
        TrainingPlan(make_module(**kwargs), mean_norm=0.5)


def test_a_frozen_encoder():
    module = make_module()
    module.z_encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="its encoder is frozen"):
        TrainingPlan(module, mean_norm=0.5)
