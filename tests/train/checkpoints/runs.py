"""Trainings that end early, go on in a model made anew, and what came out of them."""

import os

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

from lucidvi.model import SCVI

FAST = {"accelerator": "cpu", "enable_progress_bar": False, "batch_size": 8, "max_epochs": 3}


class Interruption(Exception):
    """What ends a training here."""


class Stop(Callback):
    """Ends a training once so many updates are done, and counts the steps of Lightning."""

    def __init__(self, n_updates=np.inf):
        self.n_updates, self.n_steps = n_updates, 0

    def on_train_batch_end(self, trainer, *_):
        self.n_steps += 1
        if trainer.global_step >= self.n_updates:
            raise Interruption


def make_model(adata, seed=0, cls=SCVI, setup=None, **kwargs):
    scvi.settings.seed = seed
    adata = adata.copy()
    cls.setup_anndata(adata, **({"batch_key": "batch"} if setup is None else setup))
    return cls(adata, n_latent=2, **{"n_hidden": 8, **kwargs})


def outcome(model):
    """All that a training changes, as arrays by name."""
    found = {f"weights {name}": w.numpy().copy() for name, w in model.module.state_dict().items()}
    for name, frame in model.history.items():
        found[f"history {name}"] = frame[name].to_numpy(dtype=float)
        found[f"steps {name}"] = frame.index.to_numpy(dtype=float)
        found[f"types {name}"] = np.array([str(frame[name].dtype), str(frame.index.name)])
    for name in ("train_indices", "validation_indices", "test_indices"):
        found[name] = np.asarray(getattr(model, name))
    found["generator of torch"] = torch.get_rng_state().numpy()
    found["generator of numpy"] = np.random.get_state()[1]  # noqa: NPY002
    optimizer = getattr(model, "trainer", None) and model.trainer.optimizers[0].state_dict()
    for i, state in (optimizer or {"state": {}})["state"].items():
        found |= {f"optimizer {i} {name}": value.numpy().copy() for name, value in state.items()}
    if optimizer:
        rates = {k: v for k, v in optimizer["param_groups"][0].items() if k != "params"}
        found["rates"] = np.array([repr(rates)])
    return found


def differences(first, second):
    """Names of what is not the same, bit for bit; a training that was over has no optimizer."""
    names = {*first, *second}
    if not all("rates" in it for it in (first, second)):
        names = {name for name in names if not name.startswith(("optimizer", "rates"))}
    return sorted(name for name in names if not same(first.get(name), second.get(name)))


def same(first, second):
    if first is None or second is None or first.dtype != second.dtype:
        return False
    return first.shape == second.shape and first.tobytes() == second.tobytes()


def resumed(make, folder, n_updates, **training):
    """Return the outcome of a training that is interrupted, and its steps in all processes."""
    checkpoints = {"checkpoint_every": 1, "checkpoint_dir": folder, "resume_from": folder}
    n_steps = 0
    for i, n in enumerate([*n_updates, np.inf]):
        stop, model = Stop(n), make(seed=i)
        torch.manual_seed(100 + i)
        np.random.seed(100 + i)  # noqa: NPY002
        try:
            model.train(**FAST | training, callbacks=[stop], **checkpoints)
        except Interruption:
            n_steps += stop.n_steps
            continue
        assert n == np.inf, f"the training was over before {n} updates"
        return outcome(model), n_steps + stop.n_steps
    raise AssertionError


def whole(make, **training):
    """Return the outcome of the training that nobody interrupts, and its steps."""
    stop, model = Stop(), make(seed=0)
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    model.train(**FAST | training, callbacks=[stop])
    assert all(isinstance(frame, pd.DataFrame) for frame in model.history.values())
    return outcome(model), stop.n_steps


def stopped(make, folder, n_updates=28, **training):
    """Leave checkpoints of a training that was interrupted."""
    model = make(seed=0)
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    arguments = {"checkpoint_every": 1, "checkpoint_dir": folder} | training
    with pytest.raises(Interruption):
        model.train(**FAST | arguments, callbacks=[Stop(n_updates)])


def names(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
