"""However a training ends, what it leaves behind can be used."""

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap

import nbformat
import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from nbclient import NotebookClient
from scvi.train import SaveCheckpoint

from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.train.runner._ending import is_finite

FAST = {"accelerator": "cpu", "enable_progress_bar": False, "train_size": 0.8, "batch_size": 16}
STOPPED = r"The training was stopped after {} of {} epochs: the model is {}"


def make_model(adata, **kwargs):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key="batch")
    return SCVI(adata, n_hidden=8, n_latent=2, **kwargs)


@pytest.fixture
def model(adata):
    return make_model(adata)


def weights(model):
    return {name: w.detach().clone() for name, w in model.module.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


class End(Callback):
    """Ends a training in some hook of some epoch, and notes the weights at each epoch's end."""

    def __init__(self, error, hook="on_train_epoch_end", epoch=1):
        self.error, self.epoch, self.seen = error, epoch, {}
        if hook != "on_train_epoch_end":
            setattr(self, hook, self.end)
        self.hook = hook

    def on_train_epoch_end(self, trainer, plan):
        self.seen[trainer.current_epoch] = weights(trainer._model)
        if self.hook == "on_train_epoch_end":
            self.end(trainer)

    def end(self, trainer, *_):
        if trainer.current_epoch >= self.epoch:
            raise self.error


def assert_usable(model, n_epochs):
    assert model.is_trained
    assert not any(layer.training for layer in model.module.modules())
    assert is_finite(model.module)
    assert all(weight.grad is None for weight in model.module.parameters())
    first, second = model.get_latent_representation(), model.get_latent_representation()
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(float(model.get_elbo()))
    assert len(model.history["elbo_train"]) == n_epochs
    assert len(model.train_indices) + len(model.validation_indices) == model.adata.n_obs


ERRORS = {
    "by hand": KeyboardInterrupt(),
    "exception": ValueError("a callback failed"),
    "out of memory": MemoryError("no memory"),
    "exit": SystemExit(3),
    "cuda": torch.OutOfMemoryError("CUDA out of memory"),
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    ("hook", "n_done"),
    [
        ("on_train_epoch_end", 2),
        ("on_train_batch_start", 1),
        ("on_train_batch_end", 1),
        ("on_train_epoch_start", 1),
        ("on_validation_epoch_end", 1),
    ],
)
def test_a_training_cut_short_after_an_epoch(model, caplog, kind, hook, n_done):
    end = End(ERRORS[kind], hook)
    settings = FAST | {"check_val_every_n_epoch": 1, "callbacks": [end]}
    if kind == "by hand":
        model.train(max_epochs=5, **settings)
        (line,) = [r.getMessage() for r in caplog.records if "stopped" in r.getMessage()]
        assert re.match(STOPPED.format(n_done, 5, "trained that far"), line)
        assert "\n" not in line
    else:
        with pytest.raises(type(ERRORS[kind])) as caught:
            model.train(max_epochs=5, **settings)
        assert caught.value is ERRORS[kind]
        assert any(f"after {n_done} of 5 epochs" in note for note in caught.value.__notes__)
        del caught.value.__notes__
    assert_usable(model, n_done)
    if hook == "on_train_epoch_end":
        assert same(weights(model), end.seen[1])
    model.train(max_epochs=2, **FAST)  # and another training can follow
    assert_usable(model, n_done + 2)


@pytest.mark.parametrize("kind", ERRORS)
def test_before_the_end_of_the_first_epoch(model, kind):
    """Nothing has been learned: the model is as it was, and says so."""
    before, error = weights(model), ERRORS[kind]
    with pytest.raises(type(error)) as caught:
        model.train(max_epochs=5, callbacks=[End(error, "on_train_batch_end", epoch=0)], **FAST)
    said = str(caught.value) if kind == "by hand" else caught.value.__notes__.pop()
    assert "the model is not trained" in said
    assert not model.is_trained
    assert model.history is None
    assert model.module.is_fresh
    assert not model.module.training
    assert same(weights(model), before)
    scvi.settings.seed = 1
    model.train(max_epochs=2, **FAST)
    assert_usable(model, 2)
    twin = make_model(model.adata.copy())
    scvi.settings.seed = 1
    twin.train(max_epochs=2, **FAST)
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_retraining_cut_short(model, caplog, kind, epoch):
    model.train(max_epochs=3, **FAST)
    before, indices = weights(model), model.train_indices
    end = End(ERRORS[kind], "on_train_batch_end", epoch)
    if kind == "by hand":
        model.train(max_epochs=5, callbacks=[end], **FAST)
        now = "trained that far" if epoch else "as it was before this training"
        assert re.search(STOPPED.format(epoch, 5, now), caplog.text)
    else:
        with pytest.raises(type(ERRORS[kind])):
            model.train(max_epochs=5, callbacks=[end], **FAST)
    assert_usable(model, 3 + epoch)
    assert same(weights(model), before) == (epoch == 0)
    if epoch == 0:
        np.testing.assert_array_equal(model.train_indices, indices)


def test_weights_that_are_about_to_change_further_are_not_kept(make_adata, monkeypatch):
    """Stopped while the latent space is half turned, the weights from before the epoch hold."""
    model = make_model(make_adata(80), prior="conditional", prior_kwargs={"covariates": ["batch"]})
    turned = []

    def half_turn(module, data, device):
        with torch.no_grad():
            module.z_encoder.mean_encoder.weight.mul_(1e3)
        turned.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr("lucidvi.train.practices._align_axes.align_axes", half_turn)
    model.train(max_epochs=10, **FAST)
    assert turned
    assert model.module.z_encoder.mean_encoder.weight.abs().max() < 10
    assert model.is_trained


@pytest.mark.parametrize("mean_norm", [None, 0.7])
def test_weights_that_are_not_finite_are_not_kept(adata, mean_norm):
    model = make_model(adata)

    class Spoil(Callback):
        def on_train_batch_end(self, trainer, plan, *_):
            if trainer.current_epoch == 2:
                with torch.no_grad():
                    plan.module.px_r[0] = torch.nan
                raise KeyboardInterrupt

    plan = {"mean_norm": mean_norm}
    model.train(max_epochs=5, callbacks=[Spoil()], plan_kwargs=plan, **FAST)
    assert_usable(model, 2)


def test_callbacks_that_save_models_do_not_hide_the_first_training(model, tmp_path):
    """That of scvi-tools says that a model is not trained after each model that it saves."""
    saver = SaveCheckpoint(dirpath=str(tmp_path), monitor="elbo_validation")
    model.train(max_epochs=2, **FAST)
    model.train(max_epochs=3, callbacks=[saver], check_val_every_n_epoch=1, **FAST)
    assert_usable(model, 5)
    error = ValueError("late")
    with pytest.raises(ValueError, match="late"):
        model.train(max_epochs=3, callbacks=[saver, End(error)], check_val_every_n_epoch=1, **FAST)
    assert_usable(model, 7)


def test_a_list_of_callbacks_can_be_used_twice(model):
    """scvi-tools appends its own to it, and Lightning refuses two progress bars."""
    callbacks = [Callback()]
    for _ in range(2):
        model.train(max_epochs=1, callbacks=callbacks, early_stopping=True, accelerator="cpu")
    assert len(callbacks) == 1


# -- what all share ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, *ERRORS])
def test_the_process_is_left_as_it_was(model, kind):
    def state():
        loggers = ("lightning.pytorch", "lightning.fabric", "lucidvi", "scvi", "")
        return {
            "frozen": gc.get_freeze_count(),
            "handler": signal.getsignal(signal.SIGINT),
            "terminate": signal.getsignal(signal.SIGTERM),
            "threads": torch.get_num_threads(),
            "gradients": torch.is_grad_enabled(),
            "cudnn": torch.backends.cudnn.benchmark,
            "levels": [logging.getLogger(name).level for name in loggers],
            "handlers": [len(logging.getLogger(name).handlers) for name in loggers],
        }

    before = state()
    for epoch in (0, 1):
        if kind is None:
            model.train(max_epochs=1, **FAST)
        elif kind == "by hand" and epoch == 1:
            model.train(max_epochs=3, callbacks=[End(ERRORS[kind], epoch=epoch)], **FAST)
        else:
            hook = "on_train_batch_start"
            with pytest.raises(type(ERRORS[kind])):
                model.train(max_epochs=3, callbacks=[End(ERRORS[kind], hook, epoch)], **FAST)
        assert state() == before


def test_what_somebody_else_froze_stays_frozen(model):
    gc.freeze()
    try:
        model.train(max_epochs=1, **FAST)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_an_interrupt_before_lightning_begins(model, monkeypatch):
    """Lightning then ignores Ctrl-C for good."""
    handler = signal.getsignal(signal.SIGINT)

    def setup(self, stage=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(model._data_splitter_cls, "setup", setup)
    with pytest.raises(KeyboardInterrupt, match="is not trained"):
        model.train(max_epochs=2, **FAST)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not model.module.training


def test_a_loss_that_is_not_finite_in_the_first_epoch(model, monkeypatch):
    from lucidvi.errors import TrainingError

    before, loss, n = weights(model), VAE.loss, []

    def spoiled(self, *args, **kwargs):
        output = loss(self, *args, **kwargs)
        n.append(1)
        output.loss = output.loss * (torch.nan if len(n) == 3 else 1)
        return output

    monkeypatch.setattr(VAE, "loss", spoiled)
    with pytest.raises(TrainingError, match="keeps the weights it started with"):
        model.train(max_epochs=3, **FAST)
    assert same(weights(model), before)
    assert not model.is_trained


# -- for real ---------------------------------------------------------------------------------

SETUP = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np, anndata as ad
from lightning.pytorch.callbacks import Callback
from lucidvi.model import SCVI

adata = ad.AnnData(np.random.default_rng(0).poisson(3, (60, 20)).astype("float32"))
SCVI.setup_anndata(adata)
model = SCVI(adata, n_hidden=8, n_latent=2)
settings = dict(accelerator="cpu", enable_progress_bar=False, batch_size=16)

class Interrupt(Callback):
    "Sends the signal of Ctrl-C to this process once some epochs are done."
    def __init__(self, epoch):
        self.epoch = epoch
    def on_train_batch_start(self, trainer, plan, *_):
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)
"""
USE = """
first, second = model.get_latent_representation(), model.get_latent_representation()
print("SAME", bool((first == second).all()), model.is_trained, len(model.history["elbo_train"]))
model.train(max_epochs=1, **settings)
print("AGAIN", len(model.history["elbo_train"]))
"""


def run(code):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


def test_ctrl_c_in_a_script():
    code = "model.train(max_epochs=500, callbacks=[Interrupt(3)], **settings)\n" + USE
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "SAME True True 3\nAGAIN 4" in done.stdout
    assert re.search(STOPPED.format(3, 500, "trained that far"), done.stderr)
    assert "NameError" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_in_a_script_before_the_first_epoch():
    done = run("model.train(max_epochs=500, callbacks=[Interrupt(0)], **settings)\nprint('ON')")
    assert done.returncode != 0
    assert "ON" not in done.stdout
    assert "KeyboardInterrupt: The training was stopped before the end of its first" in done.stderr
    assert "lightning/pytorch" not in done.stderr


def test_the_stop_button_of_a_notebook(tmp_path):
    """It sends the kernel the signal of Ctrl-C; the cell goes on with a model that is trained."""
    cells = [
        SETUP,
        "model.train(max_epochs=500, callbacks=[Interrupt(3)], **settings)\nprint('CELL GOES ON')",
        USE,
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(book, timeout=300, kernel_name="python3")
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client.execute(cwd=str(tmp_path))

    def text(cell):
        return "".join(output.get("text", "") for output in cell.outputs)

    assert "CELL GOES ON" in text(book.cells[1])
    assert re.search(STOPPED.format(3, 500, "trained that far"), text(book.cells[1]))
    assert "SAME True True 3\n" in text(book.cells[2])
    assert "AGAIN 4\n" in text(book.cells[2])
    assert not any(output.output_type == "error" for cell in book.cells for output in cell.outputs)
