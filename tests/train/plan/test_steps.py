"""Several minibatches a step of Lightning train as one a step, and whatever else is asked for."""

import warnings

import lightning.pytorch as pl
import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from scvi.train import SaveCheckpoint

from lucidvi.kernels import is_csr
from lucidvi.model import SCVI
from lucidvi.train import TrainingPlan
from lucidvi.train.runner._runner import steps_belong_to_lightning

N_CELLS, BATCH_SIZE, N_EPOCHS = 100, 8, 3
N_MINIBATCHES = 13
TRAINING = {
    "train_loss",
    "elbo_train",
    "reconstruction_loss_train",
    "kl_local_train",
    "kl_global_train",
    "kl_weight",
}
VALIDATION = {
    "validation_loss",
    "elbo_validation",
    "reconstruction_loss_validation",
    "kl_local_validation",
    "kl_global_validation",
}


class Recorder(Callback):
    """What a callback sees."""

    def __init__(self):
        self.groups, self.steps, self.epochs, self.logged = [], [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.groups.append(batch if isinstance(batch, list) else [batch])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(trainer.global_step)

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(trainer.current_epoch)
        self.logged.append(float(trainer.callback_metrics.get("elbo_train", torch.nan)))

    @property
    def minibatches(self):
        return [minibatch for group in self.groups for minibatch in group]


@pytest.fixture(scope="module")
def data(make_adata):
    return make_adata(N_CELLS)


def make_model(data, **kwargs):
    scvi.settings.seed = 0
    SCVI.setup_anndata(data, batch_key="batch")
    return SCVI(data, n_hidden=8, n_latent=2, **kwargs)


def train(data, *, model=None, recorder=None, plan_kwargs=None, callbacks=(), **kwargs):
    model = make_model(data) if model is None else model
    recorder = Recorder() if recorder is None else recorder
    settings = {"max_epochs": N_EPOCHS, "batch_size": BATCH_SIZE, "train_size": 1.0} | kwargs
    scvi.settings.seed = 1
    model.train(callbacks=[recorder, *callbacks], plan_kwargs=plan_kwargs or {}, **settings)
    return model, recorder


def weights(model):
    return {name: w.detach().clone() for name, w in model.module.state_dict().items()}


def column(model, name):
    return model.history[name].astype(float).to_numpy().ravel()


def assert_same_training(first, second):
    for name, want in weights(first).items():
        # One and the same sums, but for gradients that Lightning does not add in that order.
        torch.testing.assert_close(weights(second)[name], want, rtol=1e-4, atol=1e-5, msg=name)
    assert set(first.history) == set(second.history)
    for name in first.history:
        np.testing.assert_allclose(
            column(second, name), column(first, name), rtol=1e-5, atol=1e-6, err_msg=name
        )


# -- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "train_size"), [(2, 1.0), (10, 0.8), (13, 1.0), (50, 0.8)])
def test_groups_train_as_single_minibatches_do(data, size, train_size):
    checked = {} if train_size == 1.0 else CHECKED
    trained = [train(data, plan_kwargs={"minibatches_per_step": n}, **checked) for n in (1, size)]
    (single, one), (grouped, many) = trained
    assert_same_training(single, grouped)
    n_minibatches = len(one.groups)
    n_per_epoch = n_minibatches // N_EPOCHS
    assert single.trainer.global_step == grouped.trainer.global_step == n_minibatches
    sizes = [len(group) for group in many.groups]
    rest = [n_per_epoch % size] if n_per_epoch % size else []
    assert sizes == ([size] * (n_per_epoch // size) + rest) * N_EPOCHS
    assert single.trainer.lightning_module.automatic_optimization
    assert not grouped.trainer.lightning_module.automatic_optimization


def test_weights_do_change(data):
    """Else the same training would be no training at all."""
    before = weights(make_model(data))
    after = weights(train(data)[0])
    unused = ("l_encoder.", "decoder.px_r_decoder.")
    for name, weight in before.items():
        assert torch.equal(after[name], weight) == name.startswith(unused), name


def test_what_callbacks_see(data):
    model, recorder = train(data, plan_kwargs={"minibatches_per_step": 5})
    assert recorder.steps == [5, 10, 13, 18, 23, 26, 31, 36, 39]
    assert recorder.epochs == [0, 1, 2]
    # scvi-tools' logger is written to at the end of an epoch, so a callback sees it too.
    np.testing.assert_allclose(recorder.logged, column(model, "elbo_train"), rtol=1e-6)


def test_counts_stay_sparse(data):
    for kwargs in ({}, {"max_steps": 50}):
        _, recorder = train(data, **kwargs)
        assert len(recorder.minibatches) == N_EPOCHS * N_MINIBATCHES
        assert all(is_csr(minibatch["X"]) for minibatch in recorder.minibatches)
    for epoch in np.array_split(np.arange(len(recorder.minibatches)), N_EPOCHS):
        seen = torch.cat([recorder.minibatches[i]["X"].to_dense() for i in epoch])
        np.testing.assert_array_equal(seen.sum(0), np.asarray(data.X.sum(0)).ravel())


def test_the_plan_gets_no_dense_counts(data, monkeypatch):
    seen = []
    forward = TrainingPlan.forward

    def looked_at(self, minibatch, **kwargs):
        seen.append(is_csr(minibatch["X"]))
        return forward(self, minibatch, **kwargs)

    monkeypatch.setattr(TrainingPlan, "forward", looked_at)
    train(data, train_size=0.8, check_val_every_n_epoch=1)
    assert len(seen) == N_EPOCHS * (10 + 3)
    assert all(seen)


@pytest.mark.parametrize("size", [0, -1])
def test_a_step_has_a_minibatch(data, size):
    with pytest.raises(ValueError, match=f"`minibatches_per_step` is {size}"):
        train(data, plan_kwargs={"minibatches_per_step": size})


# -- whatever is asked for --------------------------------------------------------------------


class OwnLogger(pl.loggers.logger.Logger):
    name, version = "own", 0

    def __init__(self):
        super().__init__()
        self.names = set()

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.names |= set(metrics)


def custom(parameters):
    return torch.optim.SGD(parameters, lr=1e-3)


def splits(n_train, n_validation):
    order = np.arange(N_CELLS)
    return [order[:n_train], order[n_train : n_train + n_validation], np.array([], dtype=int)]


CHECKED = {"train_size": 0.8, "check_val_every_n_epoch": 1}

#: Arguments of ``train``; whether Lightning has to get one minibatch a step; number of updates.
REQUESTS = {
    "nothing": ({}, False, 39),
    "validation": (CHECKED, False, 30),
    "early stopping": (CHECKED | {"early_stopping": True}, False, 30),
    "lr monitor": ({"learning_rate_monitor": True, "train_size": 0.8}, False, 30),
    "lr on plateau": (CHECKED | {"plan_kwargs": {"reduce_lr_on_plateau": True}}, True, 30),
    "clipping": ({"gradient_clip_val": 0.5}, True, 39),
    "accumulation": ({"accumulate_grad_batches": 2}, True, 21),
    "limit": ({"limit_train_batches": 4}, True, 12),
    "share": ({"limit_train_batches": 0.5}, True, 18),
    "max_steps": ({"max_steps": 20}, True, 20),
    "val_check_interval": (CHECKED | {"val_check_interval": 5}, True, 30),
    "bf16": ({"precision": "bf16-mixed"}, True, 39),
    "each step": ({"plan_kwargs": {"on_step": True}, "log_every_n_steps": 1}, True, 39),
    "AdamW": ({"plan_kwargs": {"optimizer": "AdamW"}}, False, 39),
    "custom": (
        {"plan_kwargs": {"optimizer": "Custom", "optimizer_creator": custom}}, True, 39
    ),
    "drop_last": ({"datasplitter_kwargs": {"drop_last": True}}, False, 36),
    "indices": (
        {"datasplitter_kwargs": {"external_indexing": splits(80, 20)}, "train_size": None}
        | {"check_val_every_n_epoch": 1},
        False,
        30,
    ),
    "large minibatches": ({"batch_size": 1_000}, False, 3),
    "one cell left": ({"batch_size": 33}, False, 12),
    "no bars": ({"enable_progress_bar": False}, False, 39),
    "only decoder": ({"plan_kwargs": {"update_only_decoder": True}}, False, 39),
    "scvi": ({"preset": "scvi"}, False, 39),
}  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS)
def test_it_trains_and_the_history_is_complete(data, request_):
    kwargs, single, n_updates = REQUESTS[request_]
    model = make_model(data)
    before = weights(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Last batch will have a small size", UserWarning)
        model, recorder = train(data, model=model, **kwargs)
    assert steps_belong_to_lightning(model.trainer.lightning_module, model.trainer) == single
    assert model.trainer.global_step == n_updates
    assert recorder.steps[-1] == n_updates
    after = weights(model)
    assert all(weight.isfinite().all() for weight in after.values())
    assert not torch.equal(after["px_r"], before["px_r"])
    n_epochs = 2 if "max_steps" in kwargs else N_EPOCHS
    names = TRAINING
    if len(model.validation_indices):
        names = names | VALIDATION
    if "plan_kwargs" in kwargs and kwargs["plan_kwargs"].get("on_step"):
        names = {"kl_weight"} | {f"{name}_epoch" for name in names - {"kl_weight"}}
        assert len(column(model, "train_loss_step")) == n_updates
    assert names <= set(model.history)
    for name in names:
        values = column(model, name)
        assert np.isfinite(values).all(), name
        if "val_check_interval" not in kwargs or name not in VALIDATION:
            assert len(values) == n_epochs, name
    n_seen = sum(len(minibatch["X"]) for minibatch in recorder.minibatches)
    assert n_seen >= n_updates


def test_the_means_are_over_all_cells(data):
    """At a rate of zero every epoch is one and the same but for the draws."""
    means = {}
    for name in ("nothing", "clipping"):
        kwargs = REQUESTS[name][0] | {"plan_kwargs": {"lr": 1e-12, "lr_schedule": "constant"}}
        model, _ = train(data, max_epochs=5, **kwargs)
        means[name] = column(model, "reconstruction_loss_train").mean()
    assert max(means.values()) - min(means.values()) < 0.05 * means["nothing"]


def test_clipping_clips(data):
    """A gradient of nearly no length moves nothing, where Adam's update is divided by eps."""
    free, _ = train(data)
    clipped, _ = train(data, gradient_clip_val=1e-9)
    before = weights(train(data, plan_kwargs={"lr": 0.0})[0])["px_r"]
    moved = [float((weights(m)["px_r"] - before).abs().max()) for m in (free, clipped)]
    assert moved[1] < 1e-2 * moved[0]


def test_a_monitored_rate_is_that_of_the_schedule(data):
    monitor = LearningRateMonitor(logging_interval="epoch")
    model, _ = train(data, callbacks=[monitor], plan_kwargs={"lr": 0.5, "lr_schedule": "cosine"})
    assert model.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-2)
    assert model.trainer.optimizers[0].param_groups[0]["initial_lr"] == 0.5


def test_a_rate_that_falls_on_a_plateau(data):
    plan = {"reduce_lr_on_plateau": True, "lr": 0.25, "lr_patience": 1, "lr_threshold": 1e6}
    model, _ = train(data, max_epochs=8, plan_kwargs=plan, **CHECKED)
    rate = model.trainer.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(0.25 * 0.6**3)


def test_early_stopping_stops(data):
    settings = {"early_stopping": True, "early_stopping_patience": 2}
    model, _ = train(data, max_epochs=50, early_stopping_min_delta=1e6, train_size=0.8, **settings)
    assert len(model.history["elbo_validation"]) == len(model.history["elbo_train"]) == 3


def test_early_stopping_by_what_is_trained_on(data):
    model, _ = train(
        data,
        max_epochs=50,
        early_stopping=True,
        early_stopping_monitor="elbo_train",
        early_stopping_patience=2,
        early_stopping_min_delta=1e6,
        train_size=0.8,
    )
    assert len(model.history["elbo_train"]) == 3


@pytest.mark.parametrize("how", ["argument", "callback"])
def test_saved_models_of_scvi_tools(data, tmp_path, how, monkeypatch):
    monkeypatch.setattr(scvi.settings, "logging_dir", str(tmp_path))
    callback = SaveCheckpoint(dirpath=str(tmp_path), monitor="elbo_validation")
    kwargs = {"enable_checkpointing": True} if how == "argument" else {"callbacks": [callback]}
    model, _ = train(data, train_size=0.8, **kwargs)
    saver = next(c for c in model.trainer.callbacks if isinstance(c, SaveCheckpoint))
    loaded = SCVI.load(saver.best_model_path, adata=data)
    assert loaded.is_trained
    assert saver.best_model_score == column(model, saver.monitor).min().astype(np.float32)


class Saver(Callback):
    """Save the training after some epoch, and its weights."""

    def __init__(self, path, epoch):
        self.path, self.epoch = path, epoch

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)
            self.weights = weights(trainer._model)


class Start(Callback):
    """Note the weights that a training starts from."""

    def on_train_start(self, trainer, pl_module):
        self.weights = weights(trainer._model)


@pytest.mark.parametrize("size", [1, 10])
def test_training_on_from_a_checkpoint(data, tmp_path, size):
    """The weights, the optimizer, the schedules and the number of steps are those of before."""
    plan = {"minibatches_per_step": size}
    saver, start = Saver(tmp_path / "epoch1.ckpt", 1), Start()
    whole, through = train(data, max_epochs=4, callbacks=[saver], plan_kwargs=plan)
    resumed, recorder = train(
        data,
        max_epochs=4,
        callbacks=[start],
        ckpt_path=str(saver.path),
        plan_kwargs=plan,
    )
    for name, weight in saver.weights.items():
        assert torch.equal(start.weights[name], weight), name
    assert recorder.epochs == [2, 3]
    assert recorder.steps == through.steps[len(through.steps) // 2 :]
    assert resumed.trainer.global_step == 4 * N_MINIBATCHES
    for rate in ("lr", "initial_lr"):
        groups = [m.trainer.optimizers[0].param_groups[0][rate] for m in (whole, resumed)]
        assert groups[0] == pytest.approx(groups[1], rel=1e-9, abs=1e-12)
    optimizer = resumed.trainer.optimizers[0]
    assert {int(state["step"]) for state in optimizer.state.values()} == {4 * N_MINIBATCHES}
    gap = column(resumed, "elbo_train") - column(whole, "elbo_train")[2:]
    assert abs(gap).max() < 2  # of some thirty nats: other minibatches, other draws


def test_a_logger_of_ones_own(data):
    logger = OwnLogger()
    train(data, logger=logger, **CHECKED)
    assert logger.names >= TRAINING | VALIDATION


def test_a_logger_of_lightning(data, tmp_path):
    logger = CSVLogger(str(tmp_path))
    train(data, logger=logger, **CHECKED)
    lines = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()
    assert set(lines[0].split(",")) >= TRAINING | VALIDATION
    assert len(lines) >= 1 + N_EPOCHS


class Module(pl.LightningDataModule):
    """Minibatches of dense counts, as data modules of others give them."""

    n_obs, n_vars, n_batch = N_CELLS, 20, 1
    n_labels = 1

    def __init__(self, x):
        super().__init__()
        self.x = x

    def loader(self):
        def collate(rows):
            rows = torch.stack(rows)
            zero = torch.zeros(len(rows), 1, dtype=torch.int64)
            return {"X": rows, "batch": zero, "labels": zero}

        return torch.utils.data.DataLoader(self.x, batch_size=BATCH_SIZE, collate_fn=collate)

    train_dataloader = val_dataloader = loader


def test_a_data_module(data):
    plain = data.copy()
    SCVI.setup_anndata(plain)
    model = SCVI(plain, n_hidden=8, n_latent=2)
    made = SCVI(registry=model.registry_, n_hidden=8, n_latent=2)
    recorder = Recorder()
    made.train(
        datamodule=Module(torch.tensor(data.X.toarray())),
        max_epochs=N_EPOCHS,
        check_val_every_n_epoch=1,
        callbacks=[recorder],
    )
    assert made.trainer.global_step == N_EPOCHS * N_MINIBATCHES
    assert set(made.history) >= TRAINING | VALIDATION
    assert len(made.history["elbo_train"]) == len(made.history["elbo_validation"]) == N_EPOCHS
    assert made.trainer.lightning_module.minibatches_per_step == 1


@pytest.mark.parametrize("hook", ["on_before_optimizer_step", "on_after_backward"])
def test_hooks_on_gradients_are_called_for_each_update(data, hook):
    """Lightning calls them when it updates the weights, so a step then has one minibatch."""
    called = []
    callback = type("Hook", (Callback,), {hook: lambda self, *args: called.append(1)})()
    train(data, callbacks=[callback])
    assert len(called) == N_EPOCHS * N_MINIBATCHES
