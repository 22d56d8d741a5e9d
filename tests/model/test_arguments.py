"""Arguments that do not exist are refused at once, with the right one; those that do are not."""

import inspect
import re
import traceback

import numpy as np
import pytest
import scvi
from lightning.pytorch.callbacks import Callback
from scvi.train import TrainerConfig, TrainingPlanConfig

from lucidvi.errors import ArgumentError, DataError
from lucidvi.model import SCVI
from lucidvi.model._arguments import check_training, keywords_of, places

#: Arguments of the constructor that do not exist, and what the remedy says.
OF_MODEL = [
    ({"latent": 10}, "did you mean 'n_latent'"),
    ({"n_hiden": 8}, "did you mean 'n_hidden'"),
    ({"latent_dim": 8}, "did you mean 'n_latent'"),
    ({"likelihood": "nb"}, "did you mean 'gene_likelihood'"),
    ({"batch_key": "batch"}, "SCVI.setup_anndata(adata, batch_key='batch')"),
    ({"layer": "counts"}, "SCVI.setup_anndata(adata, layer='counts')"),
    ({"lr": 0.1}, 'model.train(plan_kwargs={"lr": 0.1})'),
    ({"max_epochs": 3}, "model.train(max_epochs=3)"),
    ({"n_batch": 3}, "it follows from the data"),
    ({"prior": "mixture", "prior_kwargs": {"n_component": 3}}, "did you mean 'n_components'"),
    ({"posterior": "flow", "posterior_kwargs": {"n_transform": 1}}, "'n_transforms'"),
    ({"extra_encoder_kwargs": {"var_ep": 1}}, "did you mean 'var_eps'"),
    ({"extra_decoder_kwargs": {"use_activatio": 1}}, "did you mean 'use_activation'"),
    ({"prior_kwargs": 3}, "prior_kwargs={"),
]
#: Arguments of ``train``.
OF_TRAINING = [
    ({"epochs": 5}, "did you mean 'max_epochs'"),
    ({"n_epochs": 5}, "did you mean 'max_epochs'"),
    ({"lr": 0.1}, 'model.train(plan_kwargs={"lr": 0.1})'),
    ({"learning_rate": 0.1}, 'model.train(plan_kwargs={"lr": 0.1})'),
    ({"objective": "iwae"}, "model.train(plan_kwargs={\"objective\": 'iwae'})"),
    ({"n_epochs_kl_warmup": 3}, 'model.train(plan_kwargs={"n_epochs_kl_warmup": 3})'),
    ({"use_gpu": True}, 'model.train(accelerator="gpu")'),
    ({"callback": []}, "did you mean 'callbacks'"),
    ({"n_latent": 3}, "SCVI(adata, n_latent=3)"),
    ({"batch_key": "b"}, "SCVI.setup_anndata(adata, batch_key='b')"),
    ({"seed": 1}, "scvi.settings.seed"),
    ({"trainer_config": {"gradient_clip": 1}}, "did you mean 'gradient_clip_val'"),
    ({"plan_kwargs": {"learning_rate": 0.1}}, "did you mean 'lr'"),
    ({"plan_kwargs": {"kl_warmups": 0.1}}, "did you mean 'kl_warmup'"),
    ({"plan_kwargs": {"max_epochs": 3}}, "model.train(max_epochs=3)"),
    ({"plan_kwargs": {"n_samples": 3}}, "ImportanceWeighted(n_samples=5)"),
    ({"plan_config": {"wait_decay": 3}}, "did you mean 'weight_decay'"),
    ({"plan_kwargs": "lr"}, "plan_kwargs={"),
    ({"plan_kwargs": ["lr", 1]}, "plan_kwargs={"),
    ({"datasplitter_kwargs": {"train_size": 0.5}}, "model.train(train_size=0.5)"),
    ({"datasplitter_kwargs": {"external_index": []}}, "did you mean 'external_indexing'"),
    ({"datasplitter_kwargs": {"num_worker": 1}}, "did you mean 'num_workers'"),
    ({"external_indexing": []}, 'datasplitter_kwargs={"external_indexing": ...}'),
]


@pytest.fixture
def model(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    return SCVI(adata, n_hidden=8, n_latent=2)


def check(error, remedy):
    """One error that names the argument and the remedy, without a frame of another package."""
    assert remedy in error.remedy
    files = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    assert not [file for file in files if "site-packages" in file]
    assert len(str(error)) < 400


@pytest.mark.parametrize(("kwargs", "remedy"), OF_MODEL, ids=str)
def test_of_a_model(adata, kwargs, remedy):
    SCVI.setup_anndata(adata, batch_key="batch")
    with pytest.raises((ArgumentError, DataError)) as caught:
        SCVI(adata, **kwargs)
    check(caught.value, remedy)
    assert isinstance(caught.value, TypeError) or "prior_kwargs" in str(caught.value)


@pytest.mark.parametrize(("kwargs", "remedy"), OF_TRAINING, ids=str)
def test_of_a_training(model, kwargs, remedy):
    before = model.module.px_r.detach().clone()
    with pytest.raises(ArgumentError) as caught:
        model.train(**kwargs)
    check(caught.value, remedy)
    assert isinstance(caught.value, TypeError)
    assert not model.is_trained
    assert (model.module.px_r == before).all()


@pytest.mark.parametrize(
    "remedy", sorted({r for _, r in OF_TRAINING if r.startswith("model.train(plan")})
)
def test_remedies_can_be_pasted(model, remedy):
    call = remedy.removeprefix("model.train(")[:-1]
    settings = {"max_epochs": 1, "enable_progress_bar": False}
    model.train(**eval(f"dict({call})"), **settings)
    assert model.is_trained


VALUES = [
    ({"max_epochs": 0}, "`max_epochs` is 0"),
    ({"max_epochs": "5"}, "`max_epochs` is '5'"),
    ({"max_epochs": 2.5}, "`max_epochs` is 2.5"),
    ({"max_epochs": True}, "`max_epochs` is True"),
    ({"batch_size": 0}, "`batch_size` is 0"),
    ({"batch_size": -3}, "`batch_size` is -3"),
    ({"train_size": 0}, "`train_size` is 0"),  # which scvi-tools takes for 0.9
    ({"train_size": 1.5}, "`train_size` is 1.5"),
    ({"validation_size": 1.0}, "`validation_size` is 1.0"),
    ({"train_size": 0.9, "validation_size": 0.2}, "are more than all cells together"),
    ({"plan_kwargs": {"lr": "fast"}}, "`lr` is 'fast'"),
    ({"plan_kwargs": {"lr": float("nan")}}, "`lr` is nan"),
    ({"plan_kwargs": {"lr": -1}}, "`lr` is -1"),
    ({"preset": "scv"}, "`preset` is 'scv'; it must be one of 'lucid', 'scvi'"),
    ({"preset": None}, "`preset` is None"),
    ({"plan_kwargs": {"objective": "iwea"}}, "`objective` is 'iwea'"),
    ({"plan_kwargs": {"lr_schedule": "one-cycle"}}, "`lr_schedule` is 'one-cycle'"),
]


@pytest.mark.parametrize(("kwargs", "message"), VALUES, ids=str)
def test_values_that_make_no_sense(model, kwargs, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        model.train(**kwargs)
    assert isinstance(caught.value, ValueError)
    assert caught.value.remedy


def test_whatever_exists_is_taken(model):
    """Each name in a signature of scvi-tools, of its configurations and of Lightning."""
    trainer = set(inspect.signature(scvi.train.Trainer).parameters) - {"kwargs"}
    lightning = set(inspect.signature(scvi.train.Trainer.__mro__[1]).parameters)
    plan = set(inspect.signature(scvi.train.TrainingPlan).parameters) - {"module", "loss_kwargs"}
    splitter = {"pin_memory", "external_indexing", "drop_last", "num_workers", "sampler"}
    check_training(
        model,
        dict.fromkeys(trainer | lightning | set(TrainerConfig().to_kwargs()) | {"ckpt_path"}),
        dict.fromkeys(plan | set(TrainingPlanConfig().to_kwargs()) | {"kl_weight"}),
        dict.fromkeys(splitter | {"persistent_workers", "prefetch_factor"}),
    )


def test_configurations_of_scvi_tools(model):
    model.train(
        max_epochs=1,
        plan_config=TrainingPlanConfig(lr=0.01),
        trainer_config=TrainerConfig(enable_progress_bar=False, max_epochs=1),
    )
    assert model.trainer.lightning_module.lr == 0.01


def test_numbers_of_numpy(model):
    model.train(
        max_epochs=np.int64(1),
        batch_size=np.int32(20),
        train_size=np.float32(0.5),
        plan_kwargs={"lr": np.float64(0.01)},
        enable_progress_bar=False,
    )
    assert model.is_trained


def test_a_plan_of_ones_own_may_take_any(model):
    seen = {}

    class Plan(model._training_plan_cls):
        def __init__(self, module, **kwargs):
            seen["own"] = kwargs.pop("of_my_own", None)
            super().__init__(module, **kwargs)

    assert keywords_of(Plan) is None
    model._training_plan_cls = Plan
    model.train(max_epochs=1, plan_kwargs={"of_my_own": 3}, enable_progress_bar=False)
    assert seen == {"own": 3}


def test_a_callback_need_not_be_in_a_list(model):
    class Seen(Callback):
        n = 0

        def on_train_epoch_end(self, trainer, plan):
            self.n += 1

    for callbacks in (Seen(), (Seen(),)):
        model.train(max_epochs=1, callbacks=callbacks, enable_progress_bar=False)
        one = callbacks[0] if isinstance(callbacks, tuple) else callbacks
        assert one.n == 1


def test_places_name_every_argument_once(model):
    tables = [names for names, _ in places(model).values()]
    assert {"max_epochs", "callbacks", "preset"} <= tables[0]
    assert {"lr", "objective", "weight_decay", "n_epochs_kl_warmup", "kl_weight"} <= tables[1]
    assert {"external_indexing", "num_workers", "drop_last"} <= tables[2]
    assert not tables[1] & tables[2]
