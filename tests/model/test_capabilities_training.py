"""Training, every argument at work."""

from dataclasses import replace

import numpy as np
import pytest
import scvi
import scvi.train
import torch
from lightning.pytorch.callbacks import Callback

from lucidvi.kernels import is_csr, to_dense
from lucidvi.model import SCVI
from lucidvi.train import PRESETS, TrainingPlan


@pytest.fixture
def model(adata):
    """An untrained model of 60 cells."""
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key="batch")
    return SCVI(adata, n_hidden=8, n_latent=2)


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.module.parameters()])


class Recorder(Callback):
    """Write down what a training does."""

    def __init__(self):
        self.batches, self.steps, self.rates = [], 0, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        group = batch if isinstance(batch, list) else [batch]
        self.batches += [to_dense(minibatch["X"]) for minibatch in group]

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.steps += 1
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


# -- splits -----------------------------------------------------------------------------------


def test_split_sizes(model):
    model.train(max_epochs=1, train_size=0.5, validation_size=0.2)
    splits = (model.train_indices, model.validation_indices, model.test_indices)
    assert [len(split) for split in splits] == [30, 12, 18]
    assert sorted(np.concatenate(splits)) == list(range(60))
    assert list(model.train_indices) != sorted(model.train_indices)
    model.train(max_epochs=1, train_size=0.5, shuffle_set_split=False)
    assert len(model.validation_indices) == 30
    assert set(model.validation_indices) == set(range(30))


def test_given_splits(model):
    train, validation, test = np.arange(0, 40), np.arange(40, 55), np.arange(55, 60)
    recorder = Recorder()
    model.train(
        max_epochs=1,
        batch_size=40,
        datasplitter_kwargs={"external_indexing": [train, validation, test]},
        callbacks=[recorder],
    )
    np.testing.assert_array_equal(np.sort(model.train_indices), train)
    np.testing.assert_array_equal(np.sort(model.validation_indices), validation)
    np.testing.assert_array_equal(np.sort(model.test_indices), test)
    seen = np.sort(recorder.batches[0].sum(1).numpy())
    np.testing.assert_array_equal(seen, np.sort(model.adata.X[:40].toarray().sum(1)))


def test_minibatches(model):
    recorder = Recorder()
    model.train(max_epochs=2, train_size=1.0, batch_size=25, callbacks=[recorder])
    assert [len(x) for x in recorder.batches] == [25, 25, 10] * 2
    first = torch.cat(recorder.batches[:3]).sum()
    assert first == model.adata.X.sum()
    assert not torch.equal(recorder.batches[0], recorder.batches[3])


def test_sparse_minibatches(model):
    """They are sparse either way."""
    twin = SCVI.from_scvi_model(model.to_scvi_model())
    histories = []
    for each, load_sparse_tensor in ((model, True), (twin, False)):
        scvi.settings.seed = 1
        each.train(max_epochs=2, load_sparse_tensor=load_sparse_tensor, preset="scvi")
        for group in each.trainer.datamodule.train_dataloader():
            assert all(is_csr(minibatch["X"]) for minibatch in group)
        histories.append(each.history["elbo_train"].astype(float).to_numpy())
    np.testing.assert_array_equal(*histories)


@pytest.mark.parametrize("where", ["argument", "settings"])
def test_workers(model, where, monkeypatch):
    untrained, kwargs = model.to_scvi_model(), {}
    if where == "argument":
        kwargs = {"datasplitter_kwargs": {"num_workers": 1, "persistent_workers": False}}
    else:
        monkeypatch.setattr(scvi.settings, "dl_num_workers", 1)
    workers = []

    class Workers(Callback):
        def on_train_start(self, trainer, pl_module):
            workers.append(trainer.train_dataloader.loader.num_workers)

    scvi.settings.seed = 2
    model.train(max_epochs=1, callbacks=[Workers()], train_size=1.0, **kwargs)
    assert workers == [1]
    trained = weights(model)
    assert not torch.equal(trained, weights(untrained))
    assert trained.isfinite().all()
    monkeypatch.undo()
    np.testing.assert_array_equal(
        model.get_latent_representation(num_workers=1), model.get_latent_representation()
    )


# -- length, seeds, history -------------------------------------------------------------------


def test_seeds(make_adata):
    trained = []
    for seed in (0, 0, 1):
        scvi.settings.seed = seed
        adata = make_adata()
        SCVI.setup_anndata(adata)
        model = SCVI(adata, n_hidden=8)
        model.train(max_epochs=2)
        trained.append((weights(model), model.train_indices))
    assert torch.equal(trained[0][0], trained[1][0])
    np.testing.assert_array_equal(trained[0][1], trained[1][1])
    assert not torch.equal(trained[0][0], trained[2][0])
    assert list(trained[0][1]) != list(trained[2][1])


def test_number_of_epochs(model, monkeypatch):
    assert not model.is_trained
    assert model.history is None
    model.train(max_epochs=3)
    assert model.is_trained
    assert len(model.history["elbo_train"]) == 3
    asked = []
    usual = PRESETS["lucid"](60, 2)
    two = replace(usual, max_epochs=lambda n: asked.append(n) or 2)
    monkeypatch.setitem(PRESETS, "lucid", lambda *of_model: two)
    model.train()
    assert asked == [60]
    assert len(model.history["elbo_train"]) == 5


def test_history(model):
    model.train(max_epochs=4, check_val_every_n_epoch=2, train_size=0.8)
    history = model.history
    assert {
        "elbo_train",
        "reconstruction_loss_train", "kl_local_train", "kl_global_train",
        "validation_loss", "elbo_validation", "reconstruction_loss_validation",
    } <= set(history)  # fmt: skip
    assert len(history["elbo_train"]) == 4
    assert len(history["elbo_validation"]) == 2
    elbo, reconstruction, kl = (
        history[key].to_numpy(dtype=float)
        for key in ("elbo_train", "reconstruction_loss_train", "kl_local_train")
    )
    np.testing.assert_allclose(elbo, reconstruction + kl, rtol=1e-5)
    before = history["elbo_train"].copy()
    model.train(max_epochs=3, check_val_every_n_epoch=1, train_size=0.8)
    continued = model.history["elbo_train"]
    assert list(continued.index) == list(range(7))
    np.testing.assert_array_equal(continued[:4], before)
    assert float(continued.iloc[4].iloc[0]) < float(continued.iloc[0].iloc[0])
    assert len(model.history["elbo_validation"]) == 5


def test_no_validation_without_cells(model):
    model.train(max_epochs=1, train_size=1.0)
    assert not [key for key in model.history if "validation" in key]


def test_steps_are_logged(model):
    model.train(
        max_epochs=2, batch_size=20, train_size=1.0,
        plan_kwargs={"on_step": True, "on_epoch": False}, log_every_n_steps=1,
    )  # fmt: skip
    per_step = model.history["train_loss_step"]["train_loss_step"].astype(float)
    assert len(per_step) == 6
    assert per_step.nunique() == 6
    assert "train_loss_epoch" not in model.history


def test_early_stopping(model):
    model.train(
        max_epochs=200,
        early_stopping=True,
        early_stopping_monitor="elbo_validation",
        early_stopping_patience=3,
        early_stopping_min_delta=1e6,
        check_val_every_n_epoch=1,
        train_size=0.8,
    )
    assert len(model.history["elbo_validation"]) == 4
    with pytest.raises(ValueError, match="no validation set"):
        model.train(max_epochs=2, early_stopping=True, train_size=1.0)


# -- the plan and the trainer -----------------------------------------------------------------


def test_plan_arguments(model):
    recorder = Recorder()
    model.train(max_epochs=1, preset="scvi", plan_kwargs={"lr": 0.5}, callbacks=[recorder])
    assert recorder.rates == [0.5]
    recorder = Recorder()
    config = {"lr": 0.25, "weight_decay": 0.0}
    both = {"plan_config": config, "plan_kwargs": {"lr": 0.125}}
    model.train(max_epochs=1, preset="scvi", callbacks=[recorder], **both)
    assert recorder.rates == [0.125]
    recorder = Recorder()
    model.train(max_epochs=1, preset="scvi", plan_config=config, callbacks=[recorder])
    assert recorder.rates == [0.25]


@pytest.mark.parametrize("base", [TrainingPlan, scvi.train.TrainingPlan])
def test_own_plan(model, base):
    class Plan(base):
        seen = 0

        def training_step(self, batch, batch_idx):
            type(self).seen += 1
            return super().training_step(batch, batch_idx)

    model._training_plan_cls = Plan
    model.train(max_epochs=2, batch_size=20, train_size=1.0)
    assert Plan.seen == 6
    assert isinstance(model.trainer.lightning_module, Plan)


def test_own_splitter_and_runner(model):
    class Splitter(model._data_splitter_cls):
        used = False

        def setup(self, stage=None):
            super().setup(stage)
            type(self).used = True

    class Runner(model._train_runner_cls):
        used = False

        def __call__(self):
            type(self).used = True
            return super().__call__()

    model._data_splitter_cls, model._train_runner_cls = Splitter, Runner
    model.train(max_epochs=1)
    assert Splitter.used
    assert Runner.used


def test_trainer_arguments(model):
    recorder = Recorder()
    model.train(
        max_epochs=5,
        batch_size=10,
        train_size=1.0,
        trainer_config={"max_steps": 7, "gradient_clip_val": 0.5},
        callbacks=[recorder],
    )
    assert recorder.steps == 7
    assert model.trainer.gradient_clip_val == 0.5
    model.train(max_epochs=1, trainer_config={"gradient_clip_val": 0.5}, gradient_clip_val=0.25)
    assert model.trainer.gradient_clip_val == 0.25


def test_device(model):
    model.train(max_epochs=1, accelerator="cpu", devices=1)
    assert model.trainer.accelerator.__class__.__name__ == "CPUAccelerator"
    assert model.trainer.num_devices == 1
    before = weights(model)
    model.to_device("cpu")
    model.to_device(torch.device("cpu"))
    assert model.device == torch.device("cpu")
    assert torch.equal(weights(model), before)
    model.to_device("meta")
    assert model.device == torch.device("meta")


def test_training_lowers_the_loss_and_leaves_the_module_in_evaluation(model):
    before = float(model.get_elbo())
    model.train(max_epochs=30, plan_kwargs={"lr": 1e-2})
    assert float(model.get_elbo()) > before + 5
    assert not model.module.training


def test_a_training_that_is_over_is_not_done_again(adata, tmp_path):
    """With checkpoints: a script that is started again gets what came out of it."""
    SCVI.setup_anndata(adata)
    arguments = {"checkpoint_every": 3, "checkpoint_dir": tmp_path, "resume_from": tmp_path}
    models = [SCVI(adata, n_hidden=8) for _ in range(2)]
    for model in models:
        model.train(max_epochs=2, accelerator="cpu", **arguments)
    states = [model.get_latent_representation() for model in models]
    np.testing.assert_array_equal(*states)
