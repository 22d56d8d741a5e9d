"""Minibatches for which there is not enough memory are halved, and give the same gradient."""

import re

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

from lucidvi.errors import TrainingError
from lucidvi.kernels import is_csr
from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.train import TrainingPlan
from lucidvi.train.plan._parts import Parts, parts_of

N_CELLS = 60
FAST = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 2}


@pytest.fixture
def model(adata):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    return SCVI(adata, n_hidden=8, n_latent=2, dropout_rate=0.0)


@pytest.fixture
def short(monkeypatch):
    """Let the memory be enough for some cells, and note how many there were at a time."""

    def set_limit(most):
        sizes = []

        def loss(module, tensors, *args, original=VAE.loss, **kwargs):
            sizes.append(len(tensors["X"]))
            if len(tensors["X"]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return original(module, tensors, *args, **kwargs)

        monkeypatch.setattr(VAE, "loss", loss)
        return sizes

    return set_limit


@pytest.fixture
def plan(model, monkeypatch):
    """A plan that never runs, whose module draws nothing and has batch norm as after training."""
    plan = TrainingPlan(model.module)
    model.module.eval()
    monkeypatch.setattr("lucidvi.module._vae.draw", lambda q, n=1: q.mean)
    return plan


def minibatch_of(model):
    return model._make_data_loader(model.adata, batch_size=N_CELLS, shuffle=False)


def gradient(plan, minibatch):
    weights = dict(plan.module.named_parameters())
    losses = plan.parts.of(minibatch, lambda parts: plan._descend([*weights.values()], parts))
    return {name: w.grad.clone() for name, w in weights.items() if w.grad is not None}, losses


@pytest.mark.parametrize("most", [59, 30, 17, 4, 1])
def test_the_gradient_is_that_of_the_whole(model, plan, short, most, monkeypatch):
    monkeypatch.setattr(TrainingPlan, "global_step", 3)
    monkeypatch.setattr(TrainingPlan, "_set_lr", lambda plan: None)
    (minibatch,) = minibatch_of(model)
    want, (whole,) = gradient(plan, minibatch)
    sizes = short(most)
    got, parts = gradient(plan, minibatch)
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6, msg=name)
    n = plan.parts.n_at_once
    assert n <= most < 2 * n + 1
    assert sum(part.n_obs_minibatch for part in parts) == N_CELLS
    mean = sum(part.n_obs_minibatch * part.loss.item() for part in parts) / N_CELLS
    assert mean == pytest.approx(whole.loss.item(), rel=1e-5)
    sizes.clear()
    gradient(plan, minibatch)
    assert max(sizes) == n  # it is known from then on


def test_what_was_added_before_memory_was_short_is_forgotten(model, plan, monkeypatch):
    """The first half goes well, the second does not."""
    monkeypatch.setattr(TrainingPlan, "global_step", 3)
    monkeypatch.setattr(TrainingPlan, "_set_lr", lambda plan: None)
    (minibatch,) = minibatch_of(model)
    want, _ = gradient(plan, minibatch)
    failures = iter([True, False, True])

    def loss(module, *args, original=VAE.loss, **kwargs):
        if next(failures, False):
            raise torch.OutOfMemoryError
        return original(module, *args, **kwargs)

    monkeypatch.setattr(VAE, "loss", loss)
    got, _ = gradient(plan, minibatch)
    assert plan.parts.n_at_once == 15
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("validated", [{}, {"check_val_every_n_epoch": 1}])
def test_a_training_goes_on_with_one_warning(model, short, caplog, validated):
    sizes = short(8)
    model.train(**FAST, **validated, batch_size=27)
    said = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert len(said) == 1
    assert "for a minibatch of 27 cells" in said[0]
    assert "batch_size=7 would have fitted" in said[0]
    assert sizes[:3] == [27, 14, 7]
    assert max(sizes[3:]) == 7
    assert model.is_trained
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()
    assert model.trainer.global_step == 4


def test_steps_are_as_many_and_losses_those_of_all_cells(model, short, monkeypatch):
    """With a learning rate of zero the weights stay, and only draws differ."""
    arguments = {**FAST, "batch_size": 54, "train_size": 0.9, "plan_kwargs": {"lr": 0.0}}
    arguments |= {"preset": "scvi"}
    weights = {name: w.clone() for name, w in model.module.state_dict().items()}
    model.train(**arguments)
    want = model.history["reconstruction_loss_train"].to_numpy(dtype=float)
    model.module.load_state_dict(weights)
    short(20)
    model.is_trained_ = False
    model.train(**arguments)
    got = model.history["reconstruction_loss_train"].to_numpy(dtype=float)
    assert got == pytest.approx(want, rel=0.05)


def test_not_enough_for_one_cell(model, short):
    short(0)
    before = {name: w.clone() for name, w in model.module.named_parameters()}
    with pytest.raises(TrainingError, match=r"not enough memory .* of one cell") as raised:
        model.train(**FAST, batch_size=27)
    assert 'accelerator="cpu"' in raised.value.remedy
    assert not model.is_trained
    assert all(torch.equal(before[name], w) for name, w in model.module.named_parameters())


@pytest.mark.parametrize("at", ["the loss", "the gradient"])
def test_where_lightning_has_the_minibatch(model, short, monkeypatch, at):
    if at == "the loss":
        short(20)
    else:

        def refuse(self, *args, **kwargs):
            raise torch.OutOfMemoryError

        monkeypatch.setattr(torch.Tensor, "backward", refuse)
    message = re.escape("for a minibatch of 27 cells, which cannot be halved where Lightning")
    with pytest.raises(TrainingError, match=message) as raised:
        model.train(**FAST, batch_size=27, gradient_clip_val=1.0)
    assert raised.value.remedy.endswith("model.train(batch_size=13)")


def test_memory_that_a_callback_lacks_is_its_own_matter(model):
    class Lacking(Callback):
        def on_train_batch_end(self, *_):
            raise torch.OutOfMemoryError("mine")

    with pytest.raises(torch.OutOfMemoryError, match="mine"):
        model.train(**FAST, callbacks=[Lacking()])


def test_parts_are_the_cells_in_their_order(model):
    (minibatch,) = minibatch_of(model)
    parts = parts_of(minibatch, 13)
    assert [len(part["X"]) for part in parts] == [13, 13, 13, 13, 8]
    for key, whole in minibatch.items():
        joined = torch.cat([part[key].to_dense() for part in parts])
        assert torch.equal(joined, whole.to_dense()), key
    assert all(is_csr(part["X"]) for part in parts)


def test_one_that_fits_is_left_as_it_is(model):
    (minibatch,) = minibatch_of(model)
    parts = Parts()
    assert parts.of(minibatch, lambda parts: parts)[0] is minibatch
    assert parts.n_at_once is None
