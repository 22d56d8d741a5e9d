"""What a checkpoint says of the training that it is of, and what does not fit."""

from functools import partial

import numpy as np
import pytest
import torch
from tests.train.checkpoints.runs import FAST, Stop, make_model, names, stopped

from lucidvi.errors import FileError
from lucidvi.files import Checkpoints
from lucidvi.train.checkpoints import _fit


@pytest.fixture(scope="module")
def adata(make_adata):
    return make_adata(120, 15)


@pytest.fixture(scope="module")
def make(adata):
    return partial(make_model, adata)


def state_of(model):
    return {name: w.clone() for name, w in model.module.state_dict().items()}


def changed(adata, what):
    """Cells that are not those that the training is of."""
    other = adata.copy()
    if what == "counts":
        other.X[3, 4] += 1
    elif what == "cells":
        other = other[:-1].copy()
    elif what == "genes":
        other.var_names = [f"g{i}" for i in range(other.n_vars)]
    else:
        other.obs["batch"] = other.obs["batch"].to_numpy()[::-1]
    return other


OTHERS = {
    "counts": (r"`adata\.X` was array of shape \(120,\)", {}, {}),
    "cells": ("the number of cells was 120 and is 119", {}, {}),
    "genes": ("`adata.var_names` was array", {}, {}),
    "batch": (r"`adata\.obs\[\"batch\"\]` was array", {}, {}),
    "model": ("the model's `dropout_rate` was 0.1 and is 0.2", {"dropout_rate": 0.2}, {}),
    "setup": (
        "the setup's `labels_key` was None and is 'label'",
        {"setup": {"batch_key": "batch", "labels_key": "label"}},
        {},
    ),
    "epochs": ("`max_epochs` was 3 and is 4", {}, {"max_epochs": 4}),
    "batch size": ("`batch_size` was 8 and is 16", {}, {"batch_size": 16}),
    "plan": (r"`plan_kwargs`\['lr'\] was .* and is 0.5", {}, {"plan_kwargs": {"lr": 0.5}}),
    "trainer": (
        "`check_val_every_n_epoch` was not given and is 1",
        {},
        {"check_val_every_n_epoch": 1},
    ),
    "preset": (r"`preset` was 'lucid' and is 'scvi'|and \d more differ", {}, {"preset": "scvi"}),
    "several": (
        "`max_epochs` was 3 and is 4; `train_size` was None and is 0.5; .*, and 1 more differ",
        {},
        {"max_epochs": 4, "train_size": 0.5, "batch_size": 9, "early_stopping": True},
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_training(adata, tmp_path, what):
    stopped(partial(make_model, adata), tmp_path)
    message, of_model, of_training = OTHERS[what]
    cells = changed(adata, what) if what in ("counts", "cells", "genes", "batch") else adata
    model = make_model(cells, **of_model)
    before, files = state_of(model), names(tmp_path)
    generator = torch.get_rng_state()
    with pytest.raises(FileError, match=message) as raised:
        model.train(**FAST | of_training, checkpoint_dir=tmp_path, resume_from=tmp_path)
    assert "is of another training" in str(raised.value)
    assert f'resume_from="{tmp_path}-2"' in raised.value.remedy
    assert not model.is_trained
    assert all(torch.equal(before[name], w) for name, w in model.module.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert names(tmp_path) == files


def test_another_version(make, tmp_path, monkeypatch):
    stopped(make, tmp_path)
    version = _fit.version
    monkeypatch.setattr(_fit, "version", lambda name: "0" if name == "torch" else version(name))
    with pytest.raises(FileError, match=r"version of torch was .* and is 0\."):
        make().train(**FAST, resume_from=tmp_path)


def test_another_number_of_processes(make, tmp_path, monkeypatch):
    stopped(make, tmp_path)
    read = Checkpoints.read

    def twice(checkpoints):
        values = read(checkpoints)
        return values | {"processes": values["processes"] * 2}

    monkeypatch.setattr(Checkpoints, "read", twice)
    model = make()
    before = state_of(model)
    with pytest.raises(FileError, match="the number of processes was 2 and is 1"):
        model.train(**FAST, resume_from=tmp_path)
    assert all(torch.equal(before[name], w) for name, w in model.module.state_dict().items())


def test_what_does_not_change_the_outcome_may_differ(make, tmp_path):
    stopped(make, tmp_path)
    other = {"enable_progress_bar": True, "log_every_n_steps": 1, "callbacks": [Stop()]}
    model = make(seed=1)
    model.train(**FAST | other, resume_from=tmp_path)
    assert model.is_trained


def test_values_as_text_are_the_same_in_every_process():
    """An address in memory is not."""
    values = {
        "function": np.mean,
        "object": object(),
        "array": np.arange(3),
        "text": np.array(["a", "b"], dtype=object),
        "tensor": torch.arange(3),
        "nested": {"list": [1, (2.5, None)], "set": {"b", "a"}},
    }
    texts = dict(_fit.described("x", values))
    assert texts["x['function']"] == "numpy.mean"
    assert texts["x['object']"] == "builtins.object"
    assert texts["x['array']"].split(", ")[-1] == texts["x['tensor']"].split(", ")[-1]
    assert texts["x['nested']['list']"] == "[1, [2.5, None]]"
    assert texts["x['nested']['set']"] == "{'a', 'b'}"
    assert not any(" at 0x" in text for text in texts.values())
    assert _fit.text_of(np.array(["a", "bc"])) != _fit.text_of(np.array(["ab", "c"]))
