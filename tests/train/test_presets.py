"""What holds where the arguments of ``train`` leave it open, and that they win over it."""

from types import SimpleNamespace

import numpy as np
import pytest
import scvi
from lightning.pytorch.callbacks import Callback

from lucidvi._compat import get_max_epochs_heuristic
from lucidvi.model import SCVI
from lucidvi.module.mosaic import MosaicVAE
from lucidvi.train import PRESETS, plan_arguments
from lucidvi.train._presets import LUCID_MANY, LUCID_STEPS

N_CELLS = [1, 2, 10, 60, 128, 500, 3_000, 20_000, 100_000, 1_000_000, 10_000_000]


class Recorder(Callback):
    """Learning rate of each step, and weight of the KL term."""

    def __init__(self):
        self.rates, self.kl_weights = [], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.kl_weights.append(pl_module.loss_kwargs["kl_weight"])


def record(adata, *, minibatches_per_step=1, plan_kwargs=None, **kwargs):
    """Train with a recorder; all cells of `adata` in minibatches of 20, three an epoch."""
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    recorder = Recorder()
    given = {"minibatches_per_step": minibatches_per_step} | (plan_kwargs or {})
    settings = {"train_size": 1.0, "batch_size": 20, "max_epochs": 4} | kwargs
    model.train(callbacks=[recorder], plan_kwargs=given, **settings)
    return model, recorder


@pytest.fixture
def asked(adata, monkeypatch):
    """Return a function that says what `train` makes of its arguments, without training."""
    SCVI.setup_anndata(adata)
    small = SCVI(adata, n_hidden=8, n_latent=2)
    seen = {}

    class Plan(SCVI._training_plan_cls):
        def __init__(self, module, **kwargs):
            super().__init__(module, **kwargs)
            seen["plan"] = self

    class Runner:
        def __init__(self, model, *, max_epochs, data_splitter, **kwargs):
            seen.update(max_epochs=max_epochs, splitter=data_splitter)

        def __call__(self):
            return None

    monkeypatch.setattr(SCVI, "_training_plan_cls", Plan)
    monkeypatch.setattr(SCVI, "_train_runner_cls", Runner)

    def ask(model=small, **kwargs):
        seen.clear()
        model.train(**kwargs)
        batch_size = seen["splitter"].data_loader_kwargs["batch_size"]
        return SimpleNamespace(batch_size=batch_size, **seen)

    return ask


# -- which there are --------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["fast", "", None, "LUCID"])
def test_one_that_does_not_exist(adata, preset):
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8)
    with pytest.raises(ValueError, match=r"must be one of 'lucid', 'scvi'\.") as error:
        model.train(max_epochs=1, preset=preset)
    assert repr(preset) in str(error.value)
    assert not model.is_trained


def test_the_default_is_lucid(asked):
    default, lucid, theirs = asked(), asked(preset="lucid"), asked(preset="scvi")
    for answer in (default, lucid):
        expected = PRESETS["lucid"](60, 1)
        assert answer.plan.lr == expected.plan["lr"]
        assert answer.plan.lr_schedule == expected.plan["lr_schedule"]
        assert answer.plan.kl_warmup == expected.plan["kl_warmup"]
        assert answer.max_epochs == expected.max_epochs(60)
        assert answer.batch_size == expected.batch_size
    assert theirs.plan.lr != default.plan.lr
    assert theirs.max_epochs == get_max_epochs_heuristic(60)


def test_that_of_scvi_tools_is_scvi_tools(asked):
    answer = asked(preset="scvi")
    theirs = scvi.train.TrainingPlan(answer.plan.module)
    for name in ("lr", "eps", "weight_decay", "optimizer_name", "n_epochs_kl_warmup"):
        assert getattr(answer.plan, name) == getattr(theirs, name), name
    assert answer.plan.kl_warmup is None
    assert answer.plan.lr_schedule == "constant"
    assert answer.plan.betas == (0.9, 0.999)  # torch's, which scvi-tools leaves
    assert answer.batch_size == scvi.settings.batch_size


# -- length -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The default number of maximum epochs has been set to 1")
@pytest.mark.parametrize("preset", PRESETS)
def test_the_more_cells_the_fewer_epochs(preset):
    epochs = [PRESETS[preset](n, 1).max_epochs(n) for n in N_CELLS]
    assert all(isinstance(n, int) for n in epochs)
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > 10 * epochs[-1]


def test_lucid_sees_every_cell_twice_at_least():
    epochs = [PRESETS["lucid"](n, 1).max_epochs(n) for n in N_CELLS]
    assert min(epochs) == epochs[-1] == 2


@pytest.mark.parametrize(("n_batches", "most"), [(1, 4_000), (2, 8_000)])
def test_lucid_trains_long_enough_and_not_too_long(n_batches, most):
    """In updates, of which an epoch has one at least, however few cells there are."""
    for n_cells in N_CELLS:
        preset = PRESETS["lucid"](n_cells, n_batches)
        n_epochs = preset.max_epochs(n_cells)
        per_epoch = -(-n_cells // preset.batch_size)
        assert n_epochs * per_epoch >= LUCID_STEPS, n_cells
        if n_epochs > 2:  # one epoch more than the bound is rounding
            assert (n_epochs - 1) * per_epoch <= most, n_cells


@pytest.mark.parametrize(
    ("n_cells", "n_batches", "n_epochs", "lr"),
    [
        (500, 1, 75, 2e-2),  # 300 updates
        (LUCID_MANY - 1, 1, 40, 2e-2),
        (LUCID_MANY, 1, 20, 3e-2),
        (LUCID_MANY, 2, 40, 2e-2),
    ],
)
def test_lucid_is_short_for_many_cells_of_one_batch(n_cells, n_batches, n_epochs, lr):
    preset = PRESETS["lucid"](n_cells, n_batches)
    assert preset.max_epochs(n_cells) == n_epochs
    assert preset.plan["lr"] == lr
    is_short = n_epochs < 40
    assert ("start_from_factors" in preset.plan) == ("betas" in preset.plan) == is_short


def test_several_modalities_are_trained_for_longest():
    preset = PRESETS["lucid"](LUCID_MANY, 1, 2)
    assert preset.max_epochs(LUCID_MANY) == 98  # in whole minibatches
    assert preset.max_epochs(10**6) == 2
    assert PRESETS["scvi"](LUCID_MANY, 1, 2) is PRESETS["scvi"](LUCID_MANY, 1)


def test_cells_that_are_not_counted_are_many():
    assert PRESETS["lucid"](None, 1) is PRESETS["lucid"](10**6, 1)
    assert PRESETS["lucid"](None, 2) is PRESETS["lucid"](10**6, 2)


@pytest.mark.parametrize(("batch_key", "betas"), [(None, (0.8, 0.9)), ("batch", (0.9, 0.999))])
def test_what_the_data_are_chooses(asked, make_adata, batch_key, betas):
    many = make_adata(LUCID_MANY)
    SCVI.setup_anndata(many, batch_key=batch_key)
    answer = asked(SCVI(many, n_hidden=8, n_latent=2))
    assert answer.plan.betas == betas
    expected = PRESETS["lucid"](LUCID_MANY, 1 if batch_key is None else 2)
    assert answer.max_epochs == expected.max_epochs(LUCID_MANY)


# -- what is given wins -----------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_length_and_size_that_are_given(asked, preset):
    answer = asked(preset=preset, max_epochs=7, batch_size=15)
    assert (answer.max_epochs, answer.batch_size) == (7, 15)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("how", ["plan_kwargs", "plan_config"])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("lr", 0.123),
        ("betas", (0.5, 0.6)),
        ("lr_schedule", "cosine"),
        ("kl_warmup", 0.77),
        ("weight_decay", 0.5),
        ("max_kl_weight", 0.25),
        ("n_epochs_kl_warmup", 17),
    ],
)
def test_arguments_of_the_plan(asked, preset, how, argument, value):
    plan = asked(preset=preset, **{how: {argument: value}}).plan
    assert getattr(plan, argument) == value
    if argument == "n_epochs_kl_warmup":
        assert plan.kl_warmup is None
    unasked = asked(preset=preset).plan
    for other in {"lr", "betas", "lr_schedule", "weight_decay", "max_kl_weight"} - {argument}:
        assert getattr(plan, other) == getattr(unasked, other), other


def test_keywords_win_over_the_config(asked):
    answer = asked(plan_config={"lr": 0.5, "weight_decay": 0.25}, plan_kwargs={"lr": 0.125})
    assert answer.plan.lr == 0.125
    assert answer.plan.weight_decay == 0.25


@pytest.mark.parametrize("warmup", ["n_epochs_kl_warmup", "n_steps_kl_warmup", "kl_warmup"])
@pytest.mark.parametrize("preset", PRESETS)
def test_one_schedule_of_the_kl_term_at_a_time(warmup, preset):
    arguments = plan_arguments(PRESETS[preset](60, 1), {warmup: 1})
    assert {name for name in arguments if name.endswith("kl_warmup")} == {warmup}


@pytest.mark.parametrize("given", [{"reduce_lr_on_plateau": True}, {"optimizer": "Custom"}])
def test_a_rate_that_is_set_elsewhere_has_no_schedule(given):
    lucid = PRESETS["lucid"](60, 1)
    assert "lr_schedule" not in plan_arguments(lucid, given)
    assert "lr_schedule" in plan_arguments(lucid, dict.fromkeys(given))
    kept = plan_arguments(lucid, given | {"lr_schedule": "cosine"})
    assert kept["lr_schedule"] == "cosine"


def test_a_preset_is_not_changed_by_what_is_given():
    before = {name: dict(preset(60, 1).plan) for name, preset in PRESETS.items()}
    for preset in PRESETS.values():
        plan_arguments(preset(60, 1), {"lr": 1.0, "kl_warmup": 0.1, "reduce_lr_on_plateau": True})
    assert {name: dict(preset(60, 1).plan) for name, preset in PRESETS.items()} == before


def test_a_plan_of_scvi_tools_gets_none_of_ours(adata):
    """Its own arguments hold then: it hands those it does not know to the loss."""
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model._training_plan_cls = scvi.train.TrainingPlan
    model.train(max_epochs=1)
    assert model.trainer.lightning_module.lr == 1e-3


# -- over the training ------------------------------------------------------------------------


@pytest.mark.parametrize("minibatches_per_step", [1, 2])
def test_the_rate_goes_through_its_cycle(adata, minibatches_per_step):
    model, recorder = record(
        adata, max_epochs=20, minibatches_per_step=minibatches_per_step, preset="lucid"
    )
    lr = PRESETS["lucid"](60, 1).plan["lr"]
    rates = np.array(recorder.rates) / lr
    assert model.trainer.global_step == 60
    assert len(rates) == 20 * -(-3 // minibatches_per_step)
    assert rates.max() <= 1
    assert rates.max() > 0.95
    assert 0 <= rates[-1] < 1e-3
    peak = rates.argmax()
    assert peak <= len(rates) * 0.2
    assert (np.diff(rates[peak:]) < 0).all()
    assert (np.diff(rates[: peak + 1]) > 0).all()


@pytest.mark.parametrize("minibatches_per_step", [1, 10])
@pytest.mark.parametrize("kl_warmup", [0.0, 0.4])
def test_the_weight_of_the_kl_term_arrives_at_one(adata, minibatches_per_step, kl_warmup):
    _, recorder = record(
        adata,
        max_epochs=10,
        minibatches_per_step=minibatches_per_step,
        plan_kwargs={"kl_warmup": kl_warmup},
    )
    weights = np.array(recorder.kl_weights)
    assert weights[-1] == 1.0
    assert (np.diff(weights) >= 0).all()
    assert (weights[0] < 0.8) == (kl_warmup > 0)
    if minibatches_per_step == 1:
        progress = np.arange(1, 31) / 30
        want = np.minimum(progress / kl_warmup, 1) if kl_warmup else np.ones(30)
        np.testing.assert_allclose(weights, want)


def test_the_last_weight_is_one_exactly(make_adata):
    """Also where groups are of unequal size: five times 3 * (25 / 3) is more than 125."""
    _, recorder = record(
        make_adata(50),
        batch_size=2,
        max_epochs=5,
        minibatches_per_step=10,
        plan_kwargs={"kl_warmup": 1.0},
    )
    assert recorder.kl_weights[-1] == 1.0


def test_that_of_scvi_tools_has_a_constant_rate(adata):
    _, recorder = record(adata, preset="scvi")
    assert set(recorder.rates) == {1e-3}
    epochs = np.repeat(np.arange(4), 3)
    np.testing.assert_allclose(recorder.kl_weights, epochs / 400)


def test_the_shortest_training_learns_something(adata):
    """One epoch of one minibatch: its rate is not the zero at which the cycle ends."""
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1, train_size=1.0, plan_kwargs={"start_from_data": False})
    scvi.settings.seed = 0
    fresh = SCVI(adata, n_hidden=8, n_latent=2)
    moved = float((model.module.px_r - fresh.module.px_r).abs().max().detach())
    assert moved > 0


def test_several_modalities_of_few_counts_train_shorter():
    preset = PRESETS["lucid"]
    epochs = [preset(5_000, 1, 2, counts).max_epochs(6_400) for counts in (5.0, 1.0, 0.9, 0.1)]
    assert epochs == [100, 100, 45, 45]
    assert preset(6_400, 1, 1, 0.1) is preset(6_400, 1)


def test_counts_for_each_weight_are_those_of_the_sparsest_modality():
    parts = {
        "rna": {"kind": "rna", "n_features": 100},
        "prot": {"kind": "protein", "n_features": 5},
        "atac": {"kind": "accessibility", "n_features": 1_000},
    }
    module = MosaicVAE(
        parts, n_hidden=32, typical_exposures=[50.0, 9.0, 80.0], n_cells=[300, 200, 100]
    )
    assert module.counts_per_weight == pytest.approx(100 * 80 / (1_000 * 32))
    assert MosaicVAE(parts).counts_per_weight == np.inf
