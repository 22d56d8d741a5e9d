"""What a training changes in its process, and puts back."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lucidvi.train.plan._faults import StoppedTogether

#: Cells that are trained on in less time than it takes to look for garbage.
FEW_CELLS = 5_000


@contextmanager
def process_put_back(n_cells: int | None = None) -> Iterator[None]:
    """Collect no garbage among what is loaded already, and leave the process as it was.

    Put back are the collector, what Ctrl-C does (Lightning ignores it from the first on, for good
    if that came early), threads of torch, whether gradients are computed, and cuDNN's choices.

    Parameters
    ----------
    n_cells
        Number of cells of the training; None if it is not known.
    """
    handler = signal.getsignal(signal.SIGINT)
    n_threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    # Python's collector would go through all that is loaded, again and again. What somebody else
    # froze stays frozen.
    freeze = gc.get_freeze_count() == 0
    if freeze:
        # What an earlier training left would stay for as long as this one takes, on a device too.
        if n_cells is None or n_cells > FEW_CELLS or torch.cuda.is_initialized():
            gc.collect()
        gc.freeze()
    try:
        yield
    finally:
        if freeze:
            gc.unfreeze()
        if torch.get_num_threads() != n_threads:
            torch.set_num_threads(n_threads)
        torch.set_grad_enabled(gradients)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
        if _is_main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let nobody interrupt what has to be done whole; a Ctrl-C meanwhile is forgotten."""
    if not _is_main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def stopping_together(plan: Any, trainer: Any) -> Iterator[None]:
    """Let the first Ctrl-C in one of several processes end the training in all of them.

    They then end after the same step, each with the same weights. By itself Lightning would kill
    the others. The second Ctrl-C is as ever.
    """
    if trainer.world_size == 1 or not _is_main_thread():
        yield
        return

    def ask(*_: Any) -> None:
        if plan.is_stopping:
            raise KeyboardInterrupt
        plan.is_stopping = True

    handler = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def is_stopped_by_hand(fault: BaseException) -> bool:
    """Whether a training ended by Ctrl-C or a stop button, which Lightning turns into an exit."""
    if isinstance(fault, StoppedTogether):
        return True
    if isinstance(fault, SystemExit):
        return isinstance(fault.__context__, KeyboardInterrupt)
    return isinstance(fault, KeyboardInterrupt)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
