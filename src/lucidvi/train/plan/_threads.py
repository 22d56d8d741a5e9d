"""How many threads a training uses: the number with which its steps are fastest.

Threads wait for each other several times a step, and spin while they wait. On cores that other
work keeps busy one of them is always late: two threads may then take ten times as long as one, of
every core. Whether that is so can be measured alone, and changes while a training runs.
"""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lucidvi._random import isolated
from lucidvi.data import CellSplitter, Minibatch

logger = logging.getLogger(__name__)

#: Steps that are timed with each number.
N_TIMED = 5
#: Steps before the first are timed: the first ones allocate memory.
N_BEFORE = 2
#: Steps after which the numbers are compared again, at first and at most; doubled each time.
N_UNTIL_AGAIN, MOST_UNTIL_AGAIN = 100, 1_000
#: A number that took this many times as long twice is not timed further.
HOPELESS = 3.0
#: Share of the time that more threads have to save, since each occupies a core.
WORTH = 0.1


class ThreadChoice:
    """Times the steps of a training with one thread and with more, and takes what is fastest.

    Parameters
    ----------
    candidates
        Numbers of threads, with all of which the results are the same.
    """

    def __init__(self, candidates: Sequence[int]) -> None:
        self.candidates = sorted(candidates)
        self.chosen: int | None = self.candidates[0] if len(self.candidates) == 1 else None
        self.seconds: dict[int, list[float]] = {}
        self.n_steps_left, self.interval = N_BEFORE, N_UNTIL_AGAIN
        self._number: int | None = None
        self._start = 0.0

    def begin(self) -> None:
        """Set the number of threads whose turn it is; called before each step."""
        self._number = None
        if len(self.candidates) == 1:
            return
        if self.n_steps_left > 0:
            self.n_steps_left -= 1
            return
        self._number = next(n for n in self.candidates if not self._is_timed(n))
        set_threads(self._number)
        self._start = time.perf_counter()

    def end(self) -> None:
        """Take the time of a step; called after it."""
        if self._number is None:
            return
        self.seconds.setdefault(self._number, []).append(time.perf_counter() - self._start)
        if self._is_timed(self.candidates[-1]):
            self._choose()

    def _is_timed(self, number: int) -> bool:
        """Whether a number was timed often enough; fewer threads come first."""
        times = self.seconds.get(number, [])
        one = self.seconds.get(self.candidates[0], [])
        hopeless = len(times) >= 2 and min(times) > HOPELESS * statistics.median(one)
        return len(times) >= N_TIMED or hopeless

    def _choose(self) -> None:
        medians = {n: statistics.median(times) for n, times in self.seconds.items()}
        best = self.candidates[0]
        for number in self.candidates[1:]:
            if medians[number] < (1 - WORTH) * medians[best]:
                best = number
        if best != self.chosen:
            measured = ", ".join(f"{n}: {1e3 * s:.3g} ms" for n, s in medians.items())
            logger.info("Training with %d threads of torch; a step with %s.", best, measured)
        self.chosen, self.seconds = best, {}
        self.n_steps_left = self.interval
        self.interval = min(2 * self.interval, MOST_UNTIL_AGAIN)
        set_threads(best)


class ThreadsCallback(Callback):
    """Lets a training on the CPU choose its threads, where its cells can be had besides.

    Torch's number at the start, which a user or ``OMP_NUM_THREADS`` set, is the largest.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out which numbers there are to choose from."""
        plan: Any = pl_module
        data = getattr(trainer, "datamodule", None)
        if torch.get_num_threads() == 1 or not isinstance(data, CellSplitter):
            return
        if plan.device.type != "cpu" or plan.module is not plan.plain_module:
            return
        size = min(data.data_loader_kwargs.get("batch_size") or data.n_train, data.n_train)
        sizes = {n for n in (size, data.n_train % size) if n > 1}
        cells = [next(data.some_training_cells(n, chunk=n)) for n in sorted(sizes)]
        plan.threads = ThreadChoice(candidates(plan.plain_module, cells))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Begin a step that Lightning does; several in one are the plan's."""
        plan: Any = pl_module
        if plan.automatic_optimization:
            plan.threads.begin()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End a step that Lightning does."""
        plan: Any = pl_module
        if plan.automatic_optimization:
            plan.threads.end()


def set_threads(number: int) -> None:
    """Set the threads of torch, and of the compiled kernels with them."""
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


def numbers_of_threads(most: int) -> list[int]:
    """Powers of two below a number, and the number itself."""
    return sorted({min(2**k, most) for k in range(most.bit_length() + 1)})


def candidates(module: Any, minibatches: Sequence[Minibatch]) -> list[int]:
    """Numbers of threads, up to torch's present one, that give exactly the same gradients as it.

    The kernels of this package add up in an order that does not depend on the threads, and so do
    nearly all matrix products; where one does not, the results of a seed would change with how
    busy a machine is. So each number has to give the same bits, for minibatches of each size.

    Parameters
    ----------
    module
        A module in training mode, on the CPU; it is not changed.
    minibatches
        Cells, as many as the minibatches of the training have.
    """
    most = torch.get_num_threads()
    numbers = numbers_of_threads(most)
    if len(numbers) == 1:
        return numbers
    try:
        want = gradients(module, minibatches)
        same = []
        for number in numbers[:-1]:
            set_threads(number)
            got = gradients(module, minibatches)
            if all(map(torch.equal, got, want)):
                same.append(number)
    finally:
        set_threads(most)
    return [*same, most]


def gradients(module: Any, minibatches: Sequence[Minibatch]) -> list[Tensor]:
    """Losses of minibatches and their gradients by a module's weights, with draws of one seed."""
    values = []
    for minibatch in minibatches:
        twin = copy.deepcopy(module)
        with isolated(0):
            loss = twin(dict(minibatch))[2].loss
            loss.backward()
        values += [loss.detach()]
        values += [w.grad for w in twin.parameters() if w.grad is not None]
    return values
