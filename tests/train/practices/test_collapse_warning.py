"""The warning speaks when almost nothing is said, and is silent on models that are of use."""

import logging

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import LightningDataModule, Trainer
from scvi.train import SaveCheckpoint
from torch.distributions import MultivariateNormal, kl_divergence

from lucidvi.model import SCVI
from lucidvi.nn import StateDistribution
from lucidvi.train import CollapseWarning, TrainingPlan
from lucidvi.train.practices._collapse_warning import information

#: A training that collapses: the KL term weighs fifty times as much as it should.
COLLAPSING = {"max_kl_weight": 50.0, "kl_warmup": 0.0}


@pytest.fixture
def spoken(caplog):
    """Return a function that trains on two kinds of cells, and gives the warnings."""

    def train(adata, plan=None, n_latent=5, model=None, **kwargs):
        scvi.settings.seed = 0
        SCVI.setup_anndata(adata, batch_key="batch")
        model = SCVI(adata, n_hidden=16, n_latent=n_latent, **kwargs.pop("model_kwargs", {}))
        settings = {"max_epochs": 10, "train_size": 1.0, "batch_size": 30} | kwargs
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="lucidvi"):
            model.train(plan_kwargs=plan or {}, **settings)
        return [r.getMessage() for r in caplog.records if r.name.startswith("lucidvi")], model

    return train


def test_it_speaks_once_in_one_line_with_a_cure(adata, spoken):
    (message,), model = spoken(adata, COLLAPSING)
    assert message.startswith("0 of 5 latent dimensions carry information (above 0.1 nats")
    assert "\n" not in message
    cure = message.split("model.train(")[1].split(")")[0]
    plan = eval(f"dict({cure})")["plan_kwargs"]
    model.train(max_epochs=1, plan_kwargs=plan)  # it can be pasted


def test_it_is_silent_on_a_model_of_use(make_adata, spoken):
    rng = np.random.default_rng(0)
    adata = make_adata(300, 30)
    rate = np.exp(rng.normal(size=(300, 4)) @ rng.normal(size=(4, 30)) / 2 + 2)
    adata.X = rng.poisson(rate).astype(np.float32)
    messages, model = spoken(adata, max_epochs=40, model_kwargs={"gene_likelihood": "poisson"})
    assert messages == []
    messages, _ = spoken(adata, n_latent=30, max_epochs=40)  # an over-wide space is no fault
    assert messages == []
    kl = float(model.history["kl_local_train"].iloc[-1, 0])
    assert kl > 3


def test_it_can_be_switched_off(adata, spoken):
    messages, model = spoken(adata, COLLAPSING | {"warn_collapse": False})
    assert messages == []
    plan = model.trainer.lightning_module
    assert not any(isinstance(practice, CollapseWarning) for practice in plan.practices)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_epochs": 1},
        {"max_epochs": 1, "plan": COLLAPSING | {"minibatches_per_step": 1}},
        {"train_size": 0.8, "early_stopping": True, "check_val_every_n_epoch": 1},
        {"n_latent": 1},
        {"preset": "scvi"},
        {"plan": COLLAPSING | {"objective": "iwae"}},
        {"model_kwargs": {"posterior": "full"}},
        {"model_kwargs": {"posterior": "flow"}},
        {"model_kwargs": {"prior": "mixture"}},
        {"model_kwargs": {"prior": "vamp"}},
        {"model_kwargs": {"prior": "conditional", "prior_kwargs": {"covariates": ("batch",)}}},
        {"model_kwargs": {"encode_covariates": True, "latent_distribution": "ln"}},
    ],
    ids=str,
)
def test_it_goes_with_every_training(adata, spoken, kwargs):
    """And speaks at full weight of the KL term, whatever the prior and the posterior."""
    messages, _ = spoken(adata, **{"plan": COLLAPSING, "max_epochs": 12} | kwargs)
    assert len(messages) == 1
    assert f"of {kwargs.get('n_latent', 5)} latent dimensions" in messages[0]


def test_checkpoints(adata, spoken, tmp_path):
    checkpoint = SaveCheckpoint(dirpath=str(tmp_path), monitor="elbo_validation")
    settings = {"train_size": 0.8, "check_val_every_n_epoch": 1, "enable_checkpointing": True}
    messages, _ = spoken(adata, COLLAPSING, callbacks=[checkpoint], **settings)
    assert len(messages) == 1


def test_the_training_is_the_same_without_it(adata, spoken):
    weights = [spoken(adata, {"warn_collapse": on})[1].module.state_dict() for on in (True, False)]
    for name, want in weights[0].items():
        assert torch.equal(weights[1][name], want), name


def test_information_of_a_normal_channel(adata, monkeypatch):
    """Of a jointly normal cell and latent state it is their mutual information."""
    SCVI.setup_anndata(adata)
    module = SCVI(adata, n_latent=2).module
    torch.manual_seed(0)
    signal, noise = torch.tensor([2.0, 0.1]), torch.tensor([0.5, 0.7])
    means = signal * torch.randn(200_000, 2)
    qz = torch.distributions.Normal(means, noise.expand_as(means))
    monkeypatch.setattr(module, "encode", lambda *args: StateDistribution(qz))
    empty = {name: torch.zeros(2, 1) for name in ("batch", "labels")}
    got = information(module, {"X": torch.ones(2, adata.n_vars), **empty})
    for k in range(2):
        joint = torch.tensor(
            [
                [signal[k] ** 2, signal[k] ** 2],
                [signal[k] ** 2, signal[k] ** 2 + noise[k] ** 2],
            ]
        )
        apart = torch.diag(joint.diagonal())
        want = kl_divergence(
            MultivariateNormal(torch.zeros(2), joint), MultivariateNormal(torch.zeros(2), apart)
        )
        assert got[k].item() == pytest.approx(want.item(), rel=0.02)


class Cells(LightningDataModule):
    """Cells that cannot be had a second time."""


def test_other_data_modules_are_left_alone(adata):
    SCVI.setup_anndata(adata)
    plan = TrainingPlan(SCVI(adata).module)
    plan.trainer = Trainer(logger=False)
    plan.trainer.datamodule = Cells()
    assert plan.data is None
    practice = CollapseWarning()
    practice.on_end(plan)
    assert not practice.has_spoken
