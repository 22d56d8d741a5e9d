"""A training says at most one line unless asked for more, and leaves loggers as they were."""

import logging
import os
import subprocess
import sys
import warnings

import pytest
import scvi

from lucidvi.model import SCVI
from lucidvi.train import quiet_lightning
from lucidvi.train.runner._quiet import TrainingBar

LOGGERS = ("lightning.pytorch", "lightning.fabric")
NOISE = ("GPU available", "TPU available", "Tip:", "`Trainer.fit` stopped", "logging interval")
SCRIPT = """
import logging, sys
import numpy as np, anndata as ad, scvi
from lucidvi.model import SCVI
adata = ad.AnnData(np.random.default_rng(0).poisson(3, (60, 20)).astype("float32") + 1)
SCVI.setup_anndata(adata)
model = SCVI(adata, n_hidden=8, n_latent=2)
if "more" in sys.argv:
    scvi.settings.verbosity = logging.DEBUG
print("START", flush=True)
print("START", file=sys.stderr, flush=True)
model.train(accelerator="cpu", **{EPOCHS})
print("END", flush=True)
print("END", file=sys.stderr, flush=True)
"""


def said(epochs, *arguments, **environment):
    """Lines of a training's output, without those of its bar; and the whole."""
    python_path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": python_path, "TQDM_DISABLE": ""} | environment
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{EPOCHS}", repr(epochs)), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    parts = [text.split("START")[1].split("END")[0] for text in (done.stdout, done.stderr)]
    lines = "".join(parts).replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "it/s" not in line], "".join(parts)


def test_a_training_says_at_most_one_line():
    lines, everything = said({"max_epochs": 3})
    assert len(lines) <= 1
    assert "v_num" not in everything
    assert "train_loss" in everything  # the bar is there
    assert not any(noise in everything for noise in NOISE)


def test_more_is_said_if_asked_for():
    _, everything = said({"max_epochs": 3}, "more")
    assert "GPU available" in everything
    assert "`Trainer.fit` stopped" in everything


@pytest.mark.slow
def test_the_first_training_on_a_machine_says_that_it_compiles(tmp_path):
    """Before the bar starts, and once."""
    first, everything = said({"max_epochs": 2}, NUMBA_CACHE_DIR=str(tmp_path))
    assert sum("Compiling" in line for line in first) == 1
    assert everything.index("Compiling") < everything.index("Epoch 1")
    second, _ = said({"max_epochs": 2}, NUMBA_CACHE_DIR=str(tmp_path))
    assert not any("Compiling" in line for line in second)


@pytest.mark.parametrize(
    ("kwargs", "n_lines"),
    [
        ({"max_epochs": 301, "preset": "scvi"}, 0),
        ({"max_epochs": 300}, 0),
        ({"max_epochs": 301}, 1),
        ({"max_epochs": 301, "plan_kwargs": {"lr": 0.123}}, 1),
        ({}, 0),
    ],
)
def test_which_preset(adata, caplog, monkeypatch, kwargs, n_lines):
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    monkeypatch.setattr(model._train_runner_cls, "__call__", lambda self: None)
    model.train(accelerator="cpu", **kwargs)
    lines = [message for message in caplog.messages if "preset" in message]
    assert len(lines) == n_lines
    lr = kwargs.get("plan_kwargs", {}).get("lr", 0.02)
    said = ("max_epochs=301", "preset='lucid'", "300 epochs", "preset='scvi'", "0.001", str(lr))
    assert all(what in line for what in said for line in lines)
    caplog.clear()
    scvi.settings.verbosity = logging.ERROR
    try:
        model.train(accelerator="cpu", **kwargs)
    finally:
        scvi.settings.verbosity = logging.INFO
    assert not [message for message in caplog.messages if "preset" in message]


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG, logging.ERROR])
def test_levels_are_put_back(level):
    before = [logging.getLogger(name).level for name in LOGGERS]
    try:
        for name in LOGGERS:
            logging.getLogger(name).setLevel(level)
        filters = list(warnings.filters)
        for error in (None, ValueError):
            try:
                with quiet_lightning():
                    inside = logging.getLogger(LOGGERS[0]).level
                    assert inside == (logging.WARNING if level == logging.INFO else level)
                    if error is not None:
                        raise error
            except ValueError:
                pass
            assert [logging.getLogger(name).level for name in LOGGERS] == [level] * 2
            assert warnings.filters == filters
    finally:
        for name, old in zip(LOGGERS, before, strict=True):
            logging.getLogger(name).setLevel(old)


def test_the_bar_is_that_of_scvi_tools_but_for_a_version(adata):
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1, accelerator="cpu")
    bar = model.trainer.progress_bar_callback
    assert type(bar) is TrainingBar
    assert "v_num" not in bar.get_metrics(model.trainer, model.trainer.lightning_module)
    model.train(max_epochs=1, accelerator="cpu", progress_bar_refresh_rate=0)
    assert model.trainer.progress_bar_callback.is_disabled
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    assert model.trainer.progress_bar_callback is None
    assert scvi.settings.verbosity == logging.INFO
