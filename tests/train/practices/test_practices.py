"""A practice is one class and one row: options, documentation, errors and hooks follow."""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import scvi
import torch
from lightning.pytorch import Callback

from lucidvi.errors import ArgumentError, DataError
from lucidvi.model import SCVI
from lucidvi.model._arguments import keywords
from lucidvi.module import VAE
from lucidvi.train import PRACTICES, PRESETS, Practice, TrainingPlan, practice_options
from lucidvi.train.practices import make_practices, with_documented_options

PAGE = Path(__file__).resolve().parents[3] / "docs" / "training.md"
#: The practice that the docs write.
EXAMPLE = re.search(r"```python\n(from dataclasses.*?)```", PAGE.read_text(), re.DOTALL)[1]
DEFAULTS = {
    "start_from_data": False,
    "start_from_factors": False,
    "align_axes": (0.3, 0.5),
    "mean_norm": None,
    "encoder_steps": 0,
    "encoder_share": 0.3,
    "warn_collapse": True,
}


@pytest.fixture
def table():
    """Return the table of practices, and put it back after the test."""
    rows = dict(PRACTICES)
    yield PRACTICES
    PRACTICES.clear()
    PRACTICES.update(rows)


@pytest.fixture
def average(table):
    """Return the practice of the docs, with its row in the table."""
    names = {"__name__": __name__}
    exec(EXAMPLE, names)
    assert list(table)[-1] == "weight_average"
    return names["WeightAverage"]


def train(adata, plan, **kwargs):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    settings = {"max_epochs": 4, "train_size": 1.0, "batch_size": 20} | kwargs
    model.train(plan_kwargs=plan, **settings)
    return model


class Recorder(Callback):
    """Weights after each step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, plan, *args):
        self.weights.append({n: w.detach().clone() for n, w in plan.module.named_parameters()})


# -- the table --------------------------------------------------------------------------------


def test_options_and_their_defaults():
    assert practice_options() == DEFAULTS


def test_an_option_belongs_to_one_practice_alone():
    options = [name for practice in PRACTICES.values() for name in practice.options()]
    assert len(options) == len(set(options))
    assert not set(options) & keywords(TrainingPlan.__init__)
    assert not set(options) & keywords(scvi.train.TrainingPlan.__init__)


def test_a_preset_sets_what_there_is():
    accepted = keywords(TrainingPlan.__init__) | keywords(scvi.train.TrainingPlan.__init__)
    for preset in PRESETS.values():
        plan = preset(10**6, 1).plan
        assert set(plan) <= accepted | practice_options().keys()


def test_the_plan_has_those_that_are_on_in_the_order_of_the_table():
    module = VAE(n_input=3, n_batch=1)
    everything = {
        "start_from_data": True,
        "start_from_factors": True,
        "mean_norm": 0.5,
        "encoder_steps": 1,
    }
    plan = TrainingPlan(module, **dict(reversed(everything.items())), lr=0.5)
    assert [type(practice) for practice in plan.practices] == list(PRACTICES.values())
    assert plan.lr == 0.5
    nothing = {"align_axes": None, "warn_collapse": False}
    assert TrainingPlan(module, **nothing).practices == []


def test_arguments_of_others_are_left():
    practices, rest = make_practices({"lr": 1.0, "mean_norm": 0.5, "align_axes": None})
    assert rest == {"lr": 1.0}
    assert [type(practice).__name__ for practice in practices] == ["MeanNorm", "CollapseWarning"]


def test_every_option_is_documented():
    for option in practice_options():
        assert TrainingPlan.__doc__.count(f"\n{option}\n    ") == 1
        assert f"`{option}`" in PAGE.read_text()


def test_the_documentation_keeps_its_other_sections():
    class Plan(TrainingPlan):
        """Plan.

        Parameters
        ----------
        lr
            Rate.
        **kwargs
            See there.

        Raises
        ------
        ValueError
            Never.
        """

    sections = with_documented_options(Plan)
    assert sections.startswith("Plan.\n\nParameters\n----------\nlr\n    Rate.\nstart_from_data\n")
    assert sections.endswith("**kwargs\n    See there.\n\nRaises\n------\nValueError\n    Never.")


@pytest.mark.parametrize(
    ("option", "meant"), [("encoder_step", "encoder_steps"), ("mean_norms", "mean_norm")]
)
def test_a_misspelled_option(adata, option, meant):
    with pytest.raises(ArgumentError, match=f"did you mean '{meant}'"):
        train(adata, {option: 1})


# -- a practice more --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "minibatches_per_step", "n_last"),
    [(0.5, 1, 7), (1.0, 1, 12), (0.5, 2, 5), (1.0, 2, 8)],  # of 12 minibatches, three an epoch
)
def test_the_practice_of_the_docs(adata, average, share, minibatches_per_step, n_last):
    """Its outcome is the mean of the weights that a callback saw in a training without it."""
    size, recorder = {"minibatches_per_step": minibatches_per_step}, Recorder()
    train(adata, size, callbacks=[recorder])
    averaged = train(adata, size | {"average_share": share})
    for name, weight in averaged.module.named_parameters():
        want = torch.stack([weights[name] for weights in recorder.weights[-n_last:]]).mean(0)
        torch.testing.assert_close(weight.detach(), want, rtol=1e-5, atol=1e-6, msg=name)
    assert averaged.is_trained


def test_its_option_is_known_and_checked(adata, average):
    assert practice_options() == DEFAULTS | {"average_share": 0.0}
    with pytest.raises(DataError, match="`average_share` is 2"):
        train(adata, {"average_share": 2})
    with pytest.raises(ArgumentError, match="did you mean 'average_share'"):
        train(adata, {"averag_share": 0.5})


def test_without_its_row_it_does_not_exist(adata):
    with pytest.raises(ArgumentError, match="`average_share`"):
        train(adata, {"average_share": 0.5})


# -- the hooks --------------------------------------------------------------------------------

CALLS = []


@dataclass(eq=False)
class First(Practice):
    """Notes when it is called."""

    first: bool = True

    def note(self, hook):
        CALLS.append(f"{type(self).__name__} {hook}")

    def check(self, module):
        assert isinstance(module, VAE)
        self.note("check")

    def on_fit_start(self, training):
        assert training.data is not None
        assert training.is_from_scratch
        self.note("start")

    def on_epoch_start(self, training):
        self.note("epoch")

    @contextmanager
    def around_minibatch(self, training):
        self.note("in")
        yield
        self.note("out")

    def on_step_end(self, training):
        self.note("step")

    def on_epoch_end(self, training):
        self.note("epoch end")

    def on_end(self, training):
        assert training.progress > 1
        assert training.kl_weight == training.max_kl_weight
        self.note("end")


@dataclass(eq=False)
class Second(First):
    """The same, next in the table."""

    first: bool = True
    second: bool = True

    @classmethod
    def options(cls):
        return {"second": True}


def test_hooks_are_called_in_order(adata, table):
    table |= {"first": First, "second": Second}
    CALLS.clear()
    train(adata, {"minibatches_per_step": 2}, max_epochs=2)

    def both(hook):
        return [f"First {hook}", f"Second {hook}"]

    minibatch = [*both("in"), "Second out", "First out"]
    steps = 2 * minibatch + both("step") + minibatch + both("step")
    epoch = both("epoch") + steps + both("epoch end")
    assert both("check") + both("start") + 2 * epoch + both("end") == CALLS


@dataclass(eq=False)
class Halfway(Practice):
    """Changes the weights in two parts, between which a training is stopped."""

    halfway: bool = True

    def on_step_end(self, training):
        if training.global_step == 8:
            self.is_pending = True
            with torch.no_grad():
                training.plain_module.px_r.fill_(7.0)
            raise KeyboardInterrupt


def test_weights_of_what_is_pending_are_not_kept(adata, table):
    table["halfway"] = Halfway
    recorder = Recorder()
    model = train(adata, {"minibatches_per_step": 1}, callbacks=[recorder])
    assert model.is_trained
    for name, weight in model.module.named_parameters():
        assert torch.equal(weight, recorder.weights[5][name]), name
