"""The number of threads is what the steps are fastest with, and changes no result."""

import itertools
import logging
import os
import subprocess
import sys

import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

from lucidvi.model import SCVI
from lucidvi.train.plan import _threads
from lucidvi.train.plan._threads import ThreadChoice, candidates, numbers_of_threads


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def clock(monkeypatch):
    """A clock by which a step takes as long as a table says for the number of threads."""

    class Clock:
        seconds, now, log = {}, 0.0, []

        def perf_counter(self):
            return self.now

        def step(self, choice):
            choice.begin()
            number = torch.get_num_threads()
            self.log.append(number)
            self.now += self.seconds[number]
            choice.end()

    clock = Clock()
    clock.log = []
    monkeypatch.setattr(_threads, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("most", "numbers"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])],
)
def test_numbers(most, numbers):
    assert numbers_of_threads(most) == numbers


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 13.0, 4: 20.0}, 1),  # busy cores
        ({1: 1.0, 2: 0.5, 4: 0.3}, 4),
        ({1: 1.0, 2: 0.5, 4: 2.0}, 2),
        ({1: 1.0, 2: 0.95, 4: 0.94}, 1),  # not worth a core
    ],
)
def test_the_fastest_is_chosen(clock, set_threads, caplog, seconds, best):
    clock.seconds = seconds
    set_threads(4)
    choice = ThreadChoice([1, 2, 4])
    with caplog.at_level(logging.INFO, logger="lucidvi"):
        for _ in range(30):
            clock.step(choice)
    assert choice.chosen == best == torch.get_num_threads()
    assert set(clock.log[20:]) == {best}
    (line,) = caplog.messages
    assert line.startswith(f"Training with {best} threads of torch")


def test_what_is_hopeless_is_not_timed_further(clock, set_threads):
    clock.seconds = {1: 1.0, 2: 50.0}
    set_threads(2)
    choice = ThreadChoice([1, 2])
    for _ in range(10_000):
        clock.step(choice)
    n_slow = sum(number == 2 for number in clock.log[_threads.N_BEFORE :])
    assert 2 <= n_slow <= 2 * 14  # twice at each comparison
    assert choice.chosen == 1


def test_it_follows_a_machine_that_becomes_busy_or_idle(clock, set_threads):
    set_threads(2)
    choice = ThreadChoice([1, 2])
    for seconds, best in (({1: 1.0, 2: 0.6}, 2), ({1: 1.0, 2: 9.0}, 1), ({1: 1.0, 2: 0.6}, 2)):
        clock.seconds = seconds
        for _ in range(2 * _threads.MOST_UNTIL_AGAIN):
            clock.step(choice)
        assert choice.chosen == best


def test_one_thread_is_not_timed(clock):
    clock.seconds = {1: 1.0}
    choice = ThreadChoice([1])
    for _ in range(20):
        clock.step(choice)
    assert choice.seconds == {}


# -- in a training ----------------------------------------------------------------------------


def make(make_adata, n_cells=70, **kwargs):
    scvi.settings.seed = 0
    adata = make_adata(n_cells)
    SCVI.setup_anndata(adata, batch_key="batch")
    return SCVI(adata, n_hidden=16, n_latent=2, **kwargs)


SETTINGS = {"accelerator": "cpu", "enable_progress_bar": False, "batch_size": 32, "max_epochs": 3}


class Alternate:
    """Takes another number of threads at each step."""

    def __init__(self, candidates):
        self.numbers = itertools.cycle(candidates)

    def begin(self):
        torch.set_num_threads(next(self.numbers))

    def end(self):
        pass


MODELS = {
    "nb": {"gene_likelihood": "nb"},
    "zinb": {},
    "poisson": {"gene_likelihood": "poisson"},
    "gene-batch": {"dispersion": "gene-batch"},
    "gene-cell": {"dispersion": "gene-cell"},
    "full": {"posterior": "full"},
    "flow": {"posterior": "flow"},
    "mixture": {"prior": "mixture"},
    "latent library": {"use_observed_lib_size": False},
}


@pytest.mark.parametrize("kind", MODELS)
def test_threads_change_no_bit_of_a_training(make_adata, set_threads, monkeypatch, kind):
    """Of whichever numbers are candidates, at each step another."""
    trained, numbers = [], []
    for choice in (lambda c: ThreadChoice([c[-1]]), Alternate):
        model = make(make_adata, **MODELS[kind])
        set_threads(2)
        monkeypatch.setattr(
            _threads, "ThreadChoice", lambda c, choice=choice: numbers.append(c) or choice(c)
        )
        scvi.settings.seed = 1
        model.train(**SETTINGS)
        trained.append(model.module.state_dict())
    assert len(numbers) == 2
    for name, weight in trained[0].items():
        assert torch.equal(trained[1][name], weight), name


@pytest.mark.parametrize("kind", ["nb", "zinb", "poisson"])
def test_both_numbers_of_two_are_candidates(make_adata, set_threads, kind):
    """The gradient of a shared dispersion is added up in the same order by any number."""
    model = make(make_adata, 600, **MODELS[kind])
    set_threads(2)
    model.train(**SETTINGS | {"max_epochs": 1, "batch_size": 128})
    assert model.trainer.lightning_module.threads.candidates == [1, 2]


def test_numbers_with_other_results_are_no_candidates(make_adata, set_threads, monkeypatch):
    model = make(make_adata)
    model.train(**SETTINGS)
    cells = [next(model.trainer.datamodule.some_training_cells(30, chunk=30))]
    set_threads(4)
    gradients = _threads.gradients

    def other(module, minibatches):
        values = gradients(module, minibatches)
        return [v + 1e-3 if torch.get_num_threads() == 2 else v for v in values]

    monkeypatch.setattr(_threads, "gradients", other)
    assert 2 not in candidates(model.module, cells)
    assert candidates(model.module, cells)[-1] == 4 == torch.get_num_threads()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_training_draws_the_same_numbers_with_a_choice_and_without(
    make_adata, set_threads, monkeypatch, clip
):
    trained = []
    for n in (1, 2):
        model = make(make_adata)
        set_threads(n)
        scvi.settings.seed = 1
        model.train(gradient_clip_val=clip, **SETTINGS)
        assert torch.get_num_threads() == n
        trained.append(model.module.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, msg=name)


@pytest.mark.parametrize("n", [1, 2])
def test_never_more_than_torch_was_given(make_adata, set_threads, n):
    class Most(Callback):
        most = 0

        def on_train_batch_end(self, *_):
            self.most = max(self.most, torch.get_num_threads())

    model, seen = make(make_adata), Most()
    set_threads(n)
    model.train(callbacks=[seen], **SETTINGS)
    assert seen.most <= n
    assert torch.get_num_threads() == n


BUSY = """
import os, subprocess, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, anndata as ad, torch
from lucidvi.model import SCVI

def seconds(choose):
    adata = ad.AnnData(np.random.default_rng(0).poisson(0.5, (400, 200)).astype("float32") + 1)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood="nb")
    if not choose:
        import lucidvi.train.plan._threads as threads
        threads.candidates = lambda module, cells: [torch.get_num_threads()]
    start = time.process_time()
    model.train(max_epochs=8, accelerator="cpu", enable_progress_bar=False)
    return time.process_time() - start

torch.set_num_threads(os.cpu_count())
seconds(True)
busy = [sys.executable, "-c", "while True: pass"]
loads = [subprocess.Popen(busy) for _ in range(os.cpu_count())]
try:
    time.sleep(0.5)
    print(seconds(True), seconds(False))
finally:
    for load in loads:
        load.kill()
"""


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_on_busy_cores_a_training_costs_less_with_a_choice():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", BUSY], capture_output=True, text=True, env=environment, timeout=300
    )
    chosen, fixed = map(float, done.stdout.split()[-2:])
    assert chosen < fixed * 1.5, done.stdout
