"""The plan: a KL schedule that ends, minibatches of one cell, losses that stay numbers."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import scvi.model
import scvi.train
import torch
from lightning.pytorch import Callback
from scvi.model._utils import get_max_epochs_heuristic
from torch import nn

from lucidvi.errors import TrainingError
from lucidvi.kernels import to_dense
from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.nn import frozen_batch_norm
from lucidvi.train import PRESETS, TrainingPlan

BATCH_SIZE = 128


def weights_of_training(plan_cls, n_cells, **kwargs):
    """KL weights at the first, middle and last step of a training that never runs."""
    n_epochs = get_max_epochs_heuristic(n_cells)
    n_per_epoch = math.ceil(0.9 * n_cells / BATCH_SIZE)
    n_steps = n_epochs * n_per_epoch

    class Plan(plan_cls):
        step = 0
        current_epoch = property(lambda self: self.step // n_per_epoch)
        global_step = property(lambda self: self.step)
        trainer = property(lambda self: SimpleNamespace(estimated_stepping_batches=n_steps))

    plan = Plan(VAE(n_input=3, n_batch=1), **kwargs)
    plan.on_train_start()
    weights = []
    for step in (0, n_steps // 2, n_steps - 1):
        plan.step = step
        weights.append(float(plan.kl_weight))
    return weights


@pytest.mark.filterwarnings("ignore:The default number of maximum epochs has been set to 1")
@pytest.mark.parametrize("n_cells", [10, 1_000, 20_000, 1_000_000, 10_000_000])
def test_the_kl_weight_arrives_at_one(n_cells):
    """scvi-tools': 0.9975 at 1,000 cells, 0.0175 at a million, exactly 0 at ten millions."""
    first, _, last = weights_of_training(TrainingPlan, n_cells)
    assert 0 < first < 0.5
    assert last == 1.0


@pytest.mark.filterwarnings("ignore:The default number of maximum epochs has been set to 1")
@pytest.mark.parametrize(
    ("n_cells", "last"), [(1_000, 0.9975), (1_000_000, 0.0175), (10_000_000, 0.0)]
)
def test_that_of_scvi_tools_does_not(n_cells, last):
    assert weights_of_training(scvi.train.TrainingPlan, n_cells)[-1] == pytest.approx(last)


@pytest.mark.parametrize(("kl_warmup", "middle"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5)])
def test_share_of_the_training(kl_warmup, middle):
    weights = weights_of_training(TrainingPlan, 20_000, kl_warmup=kl_warmup)
    assert weights[1] == pytest.approx(middle, abs=1e-3)
    bounds = {"min_kl_weight": 0.2, "max_kl_weight": 0.6}
    bounded = weights_of_training(TrainingPlan, 20_000, kl_warmup=kl_warmup, **bounds)
    np.testing.assert_allclose(bounded, 0.2 + 0.4 * np.array(weights), rtol=1e-6)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"n_epochs_kl_warmup": 50},
        {"n_epochs_kl_warmup": None},
        {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 700},
        {"n_epochs_kl_warmup": 400, "max_kl_weight": 0.3},
    ],
)
def test_the_schedules_of_scvi_tools_are_honoured(kwargs):
    ours, theirs = (
        weights_of_training(cls, 20_000, **kwargs)
        for cls in (TrainingPlan, scvi.train.TrainingPlan)
    )
    assert ours == theirs


@pytest.mark.parametrize("kl_warmup", [-0.1, 1.5, 400])
def test_a_share_is_between_zero_and_one(kl_warmup):
    with pytest.raises(ValueError, match=f"`kl_warmup` is {kl_warmup}"):
        TrainingPlan(VAE(n_input=3, n_batch=1), kl_warmup=kl_warmup)


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, 0.99, 0.999)])
def test_running_means_are_two_that_forget(betas):
    with pytest.raises(ValueError, match=re.escape(f"`betas` is {betas}")):
        TrainingPlan(VAE(n_input=3, n_batch=1), betas=betas)


def test_the_optimizer_has_those_running_means(adata):
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1, plan_kwargs={"betas": (0.7, 0.8)})
    assert model.trainer.optimizers[0].param_groups[0]["betas"] == (0.7, 0.8)


def test_the_weight_that_is_logged(adata):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    model.train(
        max_epochs=4,
        train_size=1.0,
        batch_size=60,
        log_every_n_steps=1,
        plan_kwargs={"kl_warmup": 1.0},
    )
    logged = model.history["kl_weight"].astype(float).to_numpy().ravel()
    np.testing.assert_allclose(logged, [0.25, 0.5, 0.75, 1.0])


# -- one cell ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Last batch will have a small size")
def test_a_last_minibatch_of_one_cell(adata):
    """scvi-tools: ValueError, 'Expected more than 1 value per channel when training'."""
    settings = {"max_epochs": 2, "train_size": 1.0, "batch_size": 59}
    scvi.model.SCVI.setup_anndata(adata)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        scvi.model.SCVI(adata).train(**settings)
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    model.train(**settings)
    assert np.isfinite(model.get_latent_representation()).all()
    assert all(m.training is False for m in model.module.modules())


def test_one_cell_does_not_move_the_statistics():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    with frozen_batch_norm(module):
        module(torch.ones(1, 3))
        assert module[2].training
    assert module[1].training
    assert module[1].num_batches_tracked == 0


# -- losses that are not numbers --------------------------------------------------------------


def spoil_after(monkeypatch, n_steps, cell_counts, gene):
    """Make the likelihood of one cell NaN in one gene once some steps are done."""
    seen = {"n": 0}
    loss = VAE.loss

    def spoiled(self, tensors, inference_outputs, generative_outputs, **kwargs):
        if self.training:
            seen["n"] += 1
        px = generative_outputs["px"]
        hit = (to_dense(tensors["X"]) == cell_counts).all(dim=1)
        if self.training and seen["n"] > n_steps and hit.any():
            mark = torch.zeros_like(px.log_mean)
            mark[hit, gene] = torch.nan
            generative_outputs["px"] = px.scaled(mark)
        return loss(self, tensors, inference_outputs, generative_outputs, **kwargs)

    monkeypatch.setattr(VAE, "loss", spoiled)


def test_a_loss_that_is_not_finite_names_the_cell_and_keeps_the_last_good_weights(
    adata, monkeypatch, capsys
):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    counts = torch.tensor(adata.X[17].toarray()[0])
    spoil_after(monkeypatch, n_steps=5, cell_counts=counts, gene=4)
    with pytest.raises(TrainingError) as error:
        model.train(max_epochs=20, train_size=1.0, batch_size=30)
    message = str(error.value)
    assert "'cell17' (row 17" in message
    assert "in gene 'gene4'" in message
    assert re.search(r"at step [5-8], epoch [2-4]\.", message)
    assert "weights from the start of epoch" in message
    smaller = min(PRESETS["lucid"](60, 1).plan["lr"] / 10, 1e-3)
    assert f'"lr": {smaller:g}' in message
    assert model.is_trained
    assert not model.module.training
    assert np.isfinite(model.get_latent_representation()).all()
    assert np.isfinite(float(model.get_elbo()))
    assert len(model.train_indices) == adata.n_obs


def test_at_the_first_step_the_initial_weights_stay(adata, monkeypatch, capsys):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    before = {name: w.clone() for name, w in model.module.named_parameters()}
    spoil_after(monkeypatch, 0, torch.tensor(adata.X[3].toarray()[0]), gene=0)
    with pytest.raises(TrainingError, match="weights it started with"):
        model.train(max_epochs=3, train_size=1.0, batch_size=60, preset="scvi")
    assert not model.is_trained
    assert all(torch.equal(w, before[name]) for name, w in model.module.named_parameters())


def test_a_gradient_that_is_not_finite_stops_before_it_spoils_the_weights(
    adata, monkeypatch, capsys
):
    """The loss is fine, its gradient is not: the square root of zero."""
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    loss = VAE.loss

    def spoiled(self, *args, **kwargs):
        output = loss(self, *args, **kwargs)
        output.loss = output.loss + (self.px_r[2] * 0).sqrt()
        return output

    monkeypatch.setattr(VAE, "loss", spoiled)
    before = {name: w.clone() for name, w in model.module.named_parameters()}
    with pytest.raises(TrainingError, match="gradient of px_r is NaN or infinite at step 0"):
        model.train(max_epochs=3, preset="scvi")
    assert all(torch.equal(w, before[name]) for name, w in model.module.named_parameters())


def test_a_compiled_module_keeps_its_weights_too(adata, monkeypatch, capsys):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    spoil_after(monkeypatch, 5, torch.tensor(adata.X[3].toarray()[0]), gene=0)
    plan = {"compile": True, "compile_kwargs": {"backend": "eager"}}
    with pytest.raises(TrainingError, match="weights from the start of epoch"):
        model.train(max_epochs=20, train_size=1.0, batch_size=30, plan_kwargs=plan)
    assert np.isfinite(model.get_latent_representation()).all()


def test_what_no_single_cell_explains(adata, capsys):
    SCVI.setup_anndata(adata)
    with pytest.raises(TrainingError, match="No single cell is at fault") as error:
        SCVI(adata).train(max_epochs=5, plan_kwargs={"lr": 1e18})
    assert '"lr": 0.001' in str(error.value)


def test_a_training_that_went_well_keeps_no_second_copy(adata):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    model.train(max_epochs=2)
    assert model.trainer.lightning_module.good_weights == {}


def test_continued_training_logs_under_new_names(adata):
    """scvi-tools drops what the first training did not log."""
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    model.train(max_epochs=2, train_size=1.0)
    assert "elbo_validation" not in model.history
    model.train(max_epochs=4, train_size=0.8, check_val_every_n_epoch=2)
    assert list(model.history["elbo_train"].index) == [0, 1, 2, 3, 4, 5]
    assert list(model.history["elbo_validation"].index) == [3, 5]
    assert np.isfinite(model.history["elbo_validation"].astype(float).to_numpy()).all()


class Modes(Callback):
    """Which layers are in training mode, by name, at each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, plan, *_):
        layers = plan.module.named_modules()
        self.seen.append({name for name, layer in layers if layer.training})


def test_continued_training_learns_as_the_first_did(adata, tmp_path):
    """scvi-tools goes on without dropout, and without updating batch norm."""
    SCVI.setup_anndata(adata)
    model, modes = SCVI(adata), Modes()
    model.train(max_epochs=1, callbacks=[modes])
    model.train(max_epochs=1, callbacks=[modes])
    model.save(tmp_path / "model")
    loaded = SCVI.load(tmp_path / "model", adata)
    loaded.train(max_epochs=1, callbacks=[modes])
    everything = {name for name, _ in model.module.named_modules()}
    assert all(seen == everything for seen in modes.seen)
    assert not loaded.module.training


def test_a_query_keeps_the_batch_norm_that_was_frozen(make_adata):
    adata = make_adata(60)
    SCVI.setup_anndata(adata, batch_key="batch")
    model, modes = SCVI(adata), Modes()
    model.train(max_epochs=1)
    query = SCVI.load_query_data(adata.copy(), model, freeze_expression=False)
    query.train(max_epochs=1, callbacks=[modes])
    layers = query.module.named_modules()
    norms = {name for name, layer in layers if isinstance(layer, nn.BatchNorm1d)}
    for seen in modes.seen:
        assert norms - seen == {"z_encoder.encoder.fc_layers.Layer 0.1"}  # surgery's default
        assert "z_encoder.encoder.fc_layers.Layer 0.4" in seen  # dropout


def test_training_goes_on_after_a_failure(adata, monkeypatch, capsys):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    with monkeypatch.context() as patch:
        spoil_after(patch, 4, torch.tensor(adata.X[3].toarray()[0]), gene=0)
        with pytest.raises(TrainingError):
            model.train(max_epochs=20, train_size=1.0, batch_size=30)
    model.train(max_epochs=2)
    assert np.isfinite(model.get_latent_representation()).all()
