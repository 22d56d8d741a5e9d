"""A training that was interrupted ends as one that was not, bit for bit."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from anndata import read_h5ad
from lightning.pytorch.callbacks import Callback
from tests.model.mosaic.cells import KINDS, as_mudata, simulated
from tests.splicing import spliced_anndata
from tests.toy import Toy, with_proteins
from tests.train.checkpoints.runs import (
    FAST,
    Interruption,
    Stop,
    differences,
    make_model,
    outcome,
    resumed,
    whole,
)

from lucidvi.model import FLOWVI, MOSAICVI
from lucidvi.train import PRACTICES, Practice
from lucidvi.train.checkpoints import _checkpointing
from lucidvi.train.runner._quiet import TrainingBar

#: After the first step, before and after the last of an epoch, and twice at one place.
#: of 14 minibatches, which are two steps of Lightning.
INTERRUPTIONS = [10, 14, 14, 24, 34]
VALIDATED = {"check_val_every_n_epoch": 1}

TRAININGS = {
    "plain": {},
    "validated": VALIDATED,
    "scvi": {"preset": "scvi", **VALIDATED},
    "early stopping": {
        "early_stopping": True,
        "early_stopping_patience": 1,
        "early_stopping_min_delta": 100.0,
        "early_stopping_warmup_epochs": 1,
        "max_epochs": 9,
    },
    "plateau": {
        "plan_kwargs": {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_threshold": 1e3},
        "check_val_every_n_epoch": 1,
    },
    "other schedules": {
        "plan_kwargs": {"lr_schedule": "cosine", "kl_schedule": "cyclical", "weight_decay": 0.1}
    },
    "mean norm and encoder first": {"plan_kwargs": {"mean_norm": 0.5, "encoder_steps": 2}},
    "free bits": {"plan_kwargs": {"free_bits": 0.3}},
    "clipped": {"gradient_clip_val": 1.0},
    "accumulated": {"accumulate_grad_batches": 3},
    "validated within an epoch": {"val_check_interval": 0.25, **VALIDATED},
    "most steps": {"max_steps": 40, **VALIDATED},
    "each step logged": {"plan_kwargs": {"on_step": True}, **VALIDATED},
    "all cells": {"train_size": 1.0},
    "workers": {"datasplitter_kwargs": {"num_workers": 1}},
}
FEWER_UPDATES = {"early stopping": [10, 19], "accumulated": [4, 5, 9]}
#: Those that Lightning cannot go on with after every step.
BETWEEN_FEWER_STEPS = ("accumulated", "validated within an epoch", "each step logged")


@pytest.fixture(scope="module")
def make(make_adata):
    return partial(make_model, make_adata(120, 15))


@pytest.mark.parametrize("training", TRAININGS)
def test_as_if_nothing_had_happened(make, tmp_path, training):
    arguments = TRAININGS[training]
    want, n_steps = whole(make, **arguments)
    stops = FEWER_UPDATES.get(training, INTERRUPTIONS)
    got, n_steps_resumed = resumed(make, tmp_path / "run", stops, **arguments)
    assert differences(want, got) == []
    if training not in BETWEEN_FEWER_STEPS:
        # The step that was interrupted is done again, and no other.
        assert n_steps_resumed == n_steps + len(stops)


MODELS = {
    "dropout and covariates": {
        "dropout_rate": 0.3,
        "setup": {
            "batch_key": "batch",
            "categorical_covariate_keys": ["site"],
            "continuous_covariate_keys": ["age"],
        },
    },
    "axes that are aligned": {
        "prior": "conditional",
        "prior_kwargs": {"covariates": ("batch",)},
        "posterior": "full",
    },
    "a prior that starts at cells": {"prior": "vamp"},
    "a latent library": {"use_observed_lib_size": False, "gene_likelihood": "nb"},
}


@pytest.mark.parametrize("model", MODELS)
def test_other_models(make, tmp_path, model):
    make = partial(make, **MODELS[model])
    want, _ = whole(make)
    got, _ = resumed(make, tmp_path / "run", [11, 30])
    assert differences(want, got) == []


def test_a_model_of_several_modalities(tmp_path):
    parts, _ = simulated(120)
    parts["rna"], parts["prot"] = parts["rna"][:90].copy(), parts["prot"][60:].copy()

    def make(seed):
        mdata = as_mudata(parts)
        MOSAICVI.setup_mudata(mdata, KINDS, batch_key="batch")
        torch.manual_seed(seed)
        return MOSAICVI(mdata, n_latent=2, n_hidden=8)

    want, _ = whole(make, **VALIDATED)
    assert "history reconstruction_loss_prot_train" in want
    got, _ = resumed(make, tmp_path / "run", [11, 30], **VALIDATED)
    assert differences(want, got) == []


def test_a_model_with_velocities(tmp_path):
    make = partial(make_model, spliced_anndata(120, 25, n_batches=2), cls=FLOWVI)
    want, _ = whole(make, n_kinetic_steps=5)
    got, _ = resumed(make, tmp_path / "run", [11, 30], n_kinetic_steps=5)
    assert differences(want, got) == []


def test_a_model_of_the_contracts_alone(make_adata, tmp_path):
    adata = with_proteins(make_adata(120, 20))

    def make(seed):
        cells = adata.copy()
        Toy.setup_anndata(cells, batch_key="batch")
        torch.manual_seed(seed)
        return Toy(cells)

    want, _ = whole(make)
    got, _ = resumed(make, tmp_path / "run", [11, 30])
    assert differences(want, got) == []


#: Ways to read 108 training cells of a file: all at once, or block by block in small buffers.
READINGS = {"at once": {}, "in blocks": {"buffer_size": 64, "block_size": 16}}


@pytest.mark.parametrize("reading", READINGS)
def test_cells_in_a_file(make_adata, tmp_path, reading):
    make_adata(120, 15).write_h5ad(file := tmp_path / "cells.h5ad")

    class File:
        def copy(self):
            return read_h5ad(file, backed="r")

    make = partial(make_model, File())
    how = {"datasplitter_kwargs": READINGS[reading], **VALIDATED}
    want, n_steps = whole(make, **how)
    got, n_steps_resumed = resumed(make, tmp_path / "run", INTERRUPTIONS, **how)
    assert differences(want, got) == []
    assert n_steps_resumed == n_steps + len(INTERRUPTIONS)
    # Cells come in another order than torch's where they are read in blocks, and only there.
    in_torchs_order = whole(make, **VALIDATED)[0]
    assert (differences(want, in_torchs_order) == []) == (reading == "at once")


@pytest.mark.parametrize("after", [{}, {"train_size": 0.8, "max_epochs": 2}])
def test_a_model_that_is_trained_further(make, tmp_path, after):
    """Its history, and how long it trained, are those of both trainings."""

    def trained(seed):
        model = make(seed=seed)
        if seed == 0:
            model.train(**FAST)
        return model

    want, _ = whole(trained, **after)
    got, _ = resumed(trained, tmp_path / "run", [10, 24], **after)
    assert differences(want, got) == []
    assert len(want["history elbo_train"]) == 3 + after.get("max_epochs", 3)


@dataclass(eq=False)
class Averaged(Practice):
    """Keeps what it has seen, of all kinds that a checkpoint holds."""

    average: bool = False

    def __post_init__(self):
        self.sums, self.counts, self.text = {}, [0, (0.5, None)], "none"

    def on_step_end(self, training):
        self.counts[0] += 1
        self.text += f" {training.global_step}"
        for name, weight in training.plain_module.named_parameters():
            self.sums[name] = self.sums.get(name, 0) + weight.detach()

    @torch.no_grad()
    def on_end(self, training):
        assert self.text == "none 10 14 24 28 38 42"
        for name, weight in training.plain_module.named_parameters():
            weight.copy_(self.sums[name] / self.counts[0])


def test_a_practice_of_ones_own(make, tmp_path, monkeypatch):
    monkeypatch.setitem(PRACTICES, "averaged", Averaged)
    options = {"plan_kwargs": {"average": True}}
    want, _ = whole(make, **options)
    got, _ = resumed(make, tmp_path / "run", [10, 28], **options)
    assert differences(want, got) == []
    assert differences(want, whole(make)[0]) != []


class Bar:
    """In the place of tqdm's, which is switched off here."""

    def __init__(self):
        self.n = 0

    def update(self, n=1):
        self.n += n

    def nothing(self, *_):
        pass

    set_description = set_postfix = close = nothing


def test_the_bar_goes_on_too(make, tmp_path, monkeypatch):
    bars = []
    monkeypatch.setattr(TrainingBar, "init_train_tqdm", lambda *_: bars.append(Bar()) or bars[-1])
    monkeypatch.setattr(TrainingBar, "is_enabled", True)
    for n in (28, np.inf):
        with suppress(Interruption):
            make(seed=0).train(
                **FAST | {"enable_progress_bar": True},
                checkpoint_every=1,
                checkpoint_dir=tmp_path,
                resume_from=tmp_path,
                callbacks=[Stop(n)],
            )
    assert [bar.n for bar in bars] == [1, 3]


class Drawing(Callback):
    """Draws before the first step, as whatever else runs in a process might."""

    def on_train_start(self, *_):
        torch.rand(7)


@pytest.mark.parametrize("lost", [None, "generators", "order", "means", "optimizer", "statistics"])
def test_nothing_that_is_kept_is_idle(make, tmp_path, monkeypatch, lost):
    """What is left out of a checkpoint shows."""

    def spoil(state):
        training, process = state["training"], state["processes"][0]
        match lost:
            case "generators":
                process["generators"] = _checkpointing.generator_states()
            case "order":
                process["orders"] = [torch.Generator().manual_seed(7).get_state()]
            case "means":
                process["plan"]["means"]["train"]["sums"] += 1
            case "optimizer":
                training["optimizers"][0]["state"][0]["exp_avg"].zero_()
            case "statistics":
                for name, value in state["weights"].items():
                    if "running_mean" in name:
                        value.zero_()

    def load(checkpointing, model, original=_checkpointing.Checkpointing.load_model):
        spoil(checkpointing.saved)
        original(checkpointing, model)

    want, _ = whole(make)
    model = make(seed=0)
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    monkeypatch.setattr(_checkpointing.Checkpointing, "load_model", load)
    checkpoints = {"checkpoint_every": 1, "checkpoint_dir": tmp_path, "resume_from": tmp_path}
    with pytest.raises(Interruption):
        model.train(**FAST, callbacks=[Stop(28)], **checkpoints)
    model = make(seed=1)
    model.train(**FAST, **checkpoints)
    assert (differences(want, outcome(model)) == []) == (lost is None)


def test_what_others_draw_before_the_first_step_does_not_matter(make, tmp_path):
    want, _ = whole(make)
    checkpoints = {"checkpoint_every": 1, "checkpoint_dir": tmp_path, "resume_from": tmp_path}
    model = make(seed=0)
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    with pytest.raises(Interruption):
        model.train(**FAST, callbacks=[Stop(28)], **checkpoints)
    model = make(seed=1)
    model.train(**FAST, callbacks=[Drawing()], **checkpoints)
    assert differences(want, outcome(model)) == []
