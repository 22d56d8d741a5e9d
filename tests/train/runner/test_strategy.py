"""Which ways to start processes train as one, and what is said of the others."""

import os
import subprocess
import sys
import warnings

import pytest
import scvi
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from lucidvi.errors import DataError
from lucidvi.model import SCVI
from lucidvi.train.runner._strategy import NAMES, TogetherStrategy, own_strategy

FAST = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def model(adata):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    return SCVI(adata, n_hidden=8, n_latent=2)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_lightning_lead_to_the_strategy_that_adds_gradients_up(name, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # processes of these tests run no script
    found = StrategyRegistry.get(own_strategy(name))
    assert type(found) is TogetherStrategy


@pytest.mark.parametrize(
    "strategy",
    ["ddp_spawn", "ddp_notebook", "ddp_fork", DDPStrategy()],
    ids=["spawn", "notebook", "fork", "an object"],
)
def test_processes_from_which_a_model_does_not_come_back(model, strategy):
    with pytest.raises(DataError, match=r"(?s)strategy.*python script\.py"):
        model.train(devices=2, strategy=strategy, **FAST)


def test_in_a_configuration(model):
    with pytest.raises(DataError, match="`strategy` is 'ddp_spawn'"):
        model.train(devices=2, trainer_config={"strategy": "ddp_spawn"}, **FAST)


def test_several_devices_without_a_strategy(model):
    with pytest.raises(DataError, match=r'make 2 processes(?s:.*)strategy="ddp"'):
        model.train(devices=2, **FAST)


def test_a_plan_that_does_not_add_gradients_up(model):
    model._training_plan_cls = scvi.train.TrainingPlan
    with pytest.raises(DataError, match=r"derive it from lucidvi\.train\.TrainingPlan"):
        model.train(devices=2, **FAST)


@pytest.mark.parametrize("devices", [1, "auto"])
def test_one_device_needs_no_strategy(model, devices):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train(devices=devices, strategy="ddp", **FAST)
    assert model.trainer.world_size == 1
    assert model.is_trained_
    assert "LOCAL_RANK" not in os.environ


def test_without_a_script_there_is_one_error():
    code = "from lucidvi.train.runner._strategy import own_strategy; own_strategy('ddp')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DataError: `strategy` is 'ddp', by which each device" in done.stderr
    assert "train on one device here, model.train(devices=1)" in done.stderr
