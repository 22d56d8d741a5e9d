"""Where a training writes checkpoints, and when it begins, goes on or is over."""

import logging
import os
import signal
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback
from tests.disks import files_of_at_most
from tests.train.checkpoints.runs import (
    FAST,
    Stop,
    differences,
    make_model,
    names,
    outcome,
    stopped,
    whole,
)

from lucidvi._ranks import Ranks
from lucidvi.errors import DataError, FileError, UnwritableError
from lucidvi.model import SCVI
from lucidvi.train import TrainingPlan
from lucidvi.train.checkpoints import _checkpointing, _state


@pytest.fixture(scope="module")
def adata(make_adata):
    return make_adata(120, 15)


@pytest.fixture(scope="module")
def make(adata):
    return partial(make_model, adata)


# -- the folder


def test_a_script_that_is_started_again_and_again(make, tmp_path):
    want, _ = whole(make)
    script = {"checkpoint_every": 1, "checkpoint_dir": tmp_path, "resume_from": tmp_path}
    stopped(make, tmp_path, resume_from=tmp_path)  # begins, for there is nothing yet
    stop, model = Stop(), make(seed=1)
    model.train(**FAST, **script, callbacks=[stop])
    assert stop.n_steps == 3  # of six
    assert differences(want, outcome(model)) == []
    stop, model = Stop(), make(seed=2)
    torch.rand(3)
    model.train(**FAST, **script, callbacks=[stop])
    assert stop.n_steps == 0
    assert differences(want, outcome(model)) == []
    assert model.is_trained
    assert not model.module.training
    assert not model.module.is_fresh
    assert model.preset_ == "lucid"
    assert np.isfinite(model.get_latent_representation()).all()
    model.save(tmp_path / "model")


def test_resume_from_alone_goes_on_and_writes_there(make, tmp_path):
    stopped(make, tmp_path)
    before = names(tmp_path)
    make(seed=1).train(**FAST, resume_from=str(tmp_path))
    assert names(tmp_path) != before
    assert not [name for name in names(tmp_path) if "tmp" in name]


def test_from_one_folder_into_another(make, tmp_path):
    want, _ = whole(make)
    stopped(make, tmp_path / "a")
    before = names(tmp_path / "a")
    model = make(seed=1)
    model.train(**FAST, checkpoint_dir=tmp_path / "b", resume_from=tmp_path / "a")
    assert differences(want, outcome(model)) == []
    assert names(tmp_path / "a") == before
    assert names(tmp_path / "b")


def test_checkpoints_are_never_lost_to_another_training(make, tmp_path):
    stopped(make, tmp_path)
    before = names(tmp_path)
    with pytest.raises(FileError, match="has checkpoints of a training already") as raised:
        make().train(**FAST, checkpoint_dir=tmp_path)
    assert f'resume_from="{tmp_path}"' in raised.value.remedy
    assert names(tmp_path) == before


def test_there_is_none_where_one_should_be(make, tmp_path):
    for arguments in ({}, {"checkpoint_dir": tmp_path / "b"}):
        with pytest.raises(FileError, match=r"There is no checkpoint in .*rnu1"):
            make().train(**FAST, resume_from=tmp_path / "rnu1", **arguments)
    assert names(tmp_path) == []


def test_no_folder(make):
    with pytest.raises(DataError, match="no folder is given") as raised:
        make().train(**FAST, checkpoint_every="10min")
    assert 'checkpoint_dir="run1"' in raised.value.remedy


def test_how_often(make, tmp_path):
    """A first one shows that the place can be written to; the last one is of the end."""

    class Look(Callback):
        def __init__(self):
            self.seen = set()

        def on_train_batch_end(self, *_):
            self.seen |= set(names(tmp_path / "run"))

    numbers = {}
    for every in ("1h", 10, 20):
        look = Look()
        make().train(
            **FAST, checkpoint_every=every, checkpoint_dir=tmp_path / "run", callbacks=[look]
        )
        numbers[every] = sorted(int(name[11:23]) for name in look.seen)
        for name in names(tmp_path / "run"):
            (tmp_path / "run" / name).unlink()
    # Steps of Lightning end after 10, 14, 24, 28, 38 and 42 updates.
    assert numbers == {"1h": [0], 10: [0, 10, 24, 38], 20: [0, 24]}


def test_a_place_where_nothing_can_be_written_shows_at_once(make, tmp_path):
    (tmp_path / "run").write_text("notes")
    model, stop = make(), Stop()
    with pytest.raises(UnwritableError, match="run is a file"):
        model.train(**FAST, checkpoint_dir=tmp_path / "run", callbacks=[stop])
    assert stop.n_steps == 0
    assert not model.is_trained


def test_a_disk_that_fills_up(make, tmp_path):
    disk = ExitStack()

    class Full(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 24:
                disk.enter_context(files_of_at_most(5_000))

    want, _ = whole(make)
    model = make()
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    arguments = {"checkpoint_every": 1, "checkpoint_dir": tmp_path / "run"}
    message = "cannot be written: File too large"
    with pytest.raises(UnwritableError, match=message), disk:
        model.train(**FAST, **arguments, callbacks=[Full()])
    assert names(tmp_path / "run") == [f"checkpoint-{n:012d}.pt" for n in (10, 14)]
    assert model.is_trained  # as far as it came
    assert not model.module.training
    model = make(seed=1)
    model.train(**FAST, **arguments, resume_from=tmp_path / "run")
    assert differences(want, outcome(model)) == []


def test_the_system_wants_the_process_to_end(make, tmp_path):
    """A last checkpoint is written, so that nothing is done again."""

    class Terminate(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 24:
                os.kill(os.getpid(), signal.SIGTERM)

    want, _ = whole(make)
    model = make()
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    with pytest.raises(SystemExit):
        model.train(**FAST, checkpoint_dir=tmp_path, callbacks=[Terminate()])
    assert names(tmp_path)[-1] == f"checkpoint-{24:012d}.pt"
    stop, model = Stop(), make(seed=1)
    model.train(**FAST, resume_from=tmp_path, callbacks=[stop])
    assert stop.n_steps == 3
    assert differences(want, outcome(model)) == []


def test_seconds_of_all_processes(make, tmp_path):
    stopped(make, tmp_path)
    checkpoint = torch.load(tmp_path / names(tmp_path)[-1], weights_only=False)
    assert checkpoint["seconds"] > 0
    model = make(seed=1)
    model.train(**FAST, resume_from=tmp_path)
    assert model.training_seconds_ > checkpoint["seconds"]


def test_a_training_stopped_by_hand_is_not_over(make, tmp_path):
    want, _ = whole(make)

    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 28:
                raise KeyboardInterrupt

    model = make()
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    arguments = {"checkpoint_every": 1, "checkpoint_dir": tmp_path, "resume_from": tmp_path}
    model.train(**FAST, **arguments, callbacks=[Interrupt()])
    assert len(model.history["elbo_train"]) == 1
    model = make(seed=1)
    model.train(**FAST, **arguments)
    assert differences(want, outcome(model)) == []


@pytest.mark.parametrize("is_over", [False, True])
def test_what_is_said(make, tmp_path, caplog, monkeypatch, is_over):
    caplog.set_level(logging.INFO, "scvi")
    monkeypatch.setattr(logging.getLogger("scvi"), "propagate", True)
    stopped(make, tmp_path, resume_from=tmp_path)
    assert "yet: the training begins" in caplog.text
    if is_over:
        make(seed=1).train(**FAST, resume_from=tmp_path)
    caplog.clear()
    make(seed=1).train(**FAST, resume_from=tmp_path)
    says = "is over" if is_over else "goes on after 1 epochs and 24 updates"
    assert says in caplog.text
    assert "begins" not in caplog.text


# -- trainings that cannot be gone on with


def test_a_damaged_checkpoint(make, tmp_path, caplog):
    want, _ = whole(make)
    stopped(make, tmp_path)
    newest = tmp_path / names(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    model = make(seed=1)
    model.train(**FAST, resume_from=tmp_path)
    assert "is damaged" in caplog.text
    assert differences(want, outcome(model)) == []


def test_processes_that_find_different_checkpoints(make, tmp_path, monkeypatch):
    """As of machines whose disks are their own; here the second process is made up."""

    class Two(Ranks):
        def of_all(self, value):
            return [value, (0, 0)]

    stopped(make, tmp_path)
    monkeypatch.setattr(_checkpointing, "ranks_of", lambda _: Two())
    with pytest.raises(FileError, match="process 0 after 24 updates, process 1 after 0"):
        make(seed=1).train(**FAST, resume_from=tmp_path)


def test_states_of_processes_come_without_their_devices(monkeypatch):
    """Tensors would come to lie on devices of the sender; this one stands for those of a GPU."""

    class Elsewhere:
        def to(self, device, **_):
            return torch.ones(3, device=device)

    class Two(Ranks):
        def of_all(self, value):
            return [value, value]

    state = {"generators": torch.get_rng_state(), "plan": {"means": [Elsewhere(), (1, None)]}}
    want = {**state, "plan": {"means": [torch.ones(3), (1, None)]}}
    monkeypatch.setattr(_state, "ranks_of", lambda _: Two(0, 2))
    monkeypatch.setattr(_state, "process_state", lambda *_: state)
    for found in _state.states_of_processes(None, None):
        torch.testing.assert_close(found, want)


def test_a_checkpoint_of_lightning_beside(make, tmp_path):
    with pytest.raises(DataError, match=r"`ckpt_path` is 'a\.ckpt'"):
        make().train(**FAST, checkpoint_dir=tmp_path, ckpt_path="a.ckpt")


def test_a_datamodule(make, tmp_path):
    model = make()
    with pytest.raises(DataError, match="writes checkpoints of an AnnData alone"):
        model.train(**FAST, checkpoint_dir=tmp_path, datamodule=LightningDataModule())


def test_a_plan_that_says_nothing_of_itself(adata, tmp_path):
    class Other(SCVI):
        _training_plan_cls = scvi.train.TrainingPlan

    model = make_model(adata, cls=Other)
    with pytest.raises(DataError, match="does not say what it keeps"):
        model.train(**FAST, checkpoint_dir=tmp_path)


def test_a_plan_that_is_derived(adata, tmp_path):
    class Plan(TrainingPlan):
        pass

    class Other(SCVI):
        _training_plan_cls = Plan

    make = partial(make_model, adata, cls=Other)
    want, _ = whole(make)
    stopped(make, tmp_path)
    model = make(seed=1)
    model.train(**FAST, resume_from=tmp_path)
    assert differences(want, outcome(model)) == []
