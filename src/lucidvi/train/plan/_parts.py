"""Minibatches in as many parts as the memory of a device needs."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch import Tensor

from lucidvi.data import Minibatch
from lucidvi.errors import TrainingError
from lucidvi.kernels import select_rows

logger = logging.getLogger(__name__)


class Parts:
    """Halves minibatches for which a device has no memory, until it has.

    The number of cells that was enough holds for all minibatches that follow.
    """

    def __init__(self) -> None:
        #: Most cells that are gone through at once; None while no memory was short.
        self.n_at_once: int | None = None

    def of(
        self, minibatch: Minibatch, act: Callable[[list[Minibatch]], list[LossOutput]]
    ) -> list[LossOutput]:
        """Return the losses of the parts of a minibatch, of one if that can be.

        Parameters
        ----------
        minibatch
            Cells.
        act
            What is done with all parts; with smaller ones again if it runs out of memory, so it
            has to begin by undoing what it may have done before.

        Raises
        ------
        lucidvi.errors.TrainingError
            If there is not enough memory for one cell.
        """
        n_cells = len(minibatch[REGISTRY_KEYS.X_KEY])
        n = n_cells if self.n_at_once is None else min(n_cells, self.n_at_once)
        while (outputs := attempt(act, parts_of(minibatch, n))) is None:
            if n == 1:
                raise TrainingError(
                    "There is not enough memory on the device for the gradients of one cell: the "
                    "model itself is too large for it.",
                    remedy="fewer genes or a smaller `n_hidden`, or the memory of the computer, "
                    'model.train(accelerator="cpu")',
                )
            n = -(-n // 2)
            release_memory()
        if n < min(n_cells, self.n_at_once or n_cells):
            self.n_at_once = n
            logger.warning(SHORT.format(n_cells, n, n))
        return outputs


def attempt(
    act: Callable[[list[Minibatch]], list[LossOutput]], parts: list[Minibatch]
) -> list[LossOutput] | None:
    """Return what is made of parts, or None if there is not enough memory.

    The error is gone when this returns, and with it what it kept alive on the device.
    """
    try:
        return act(parts)
    except torch.OutOfMemoryError:
        return None


def release_memory() -> None:
    """Give back what nobody uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def parts_of(minibatch: Minibatch, n: int) -> list[Minibatch]:
    """Return the cells of a minibatch in their order, ``n`` at a time."""
    n_cells = len(minibatch[REGISTRY_KEYS.X_KEY])
    if n >= n_cells:
        return [minibatch]
    device = minibatch[REGISTRY_KEYS.X_KEY].device
    rows = torch.arange(n_cells, device=device).split(n)
    return [{key: select_rows(x, some) for key, x in minibatch.items()} for some in rows]


def mean_loss(parts: list[LossOutput]) -> Tensor:
    """Return the loss of a minibatch from those of its parts, without a gradient."""
    if len(parts) == 1:
        return parts[0].loss.detach()
    n_cells = sum(part.n_obs_minibatch for part in parts)
    shares = [part.n_obs_minibatch / n_cells * part.loss.detach() for part in parts]
    return torch.stack(shares).sum()


#: In one line, with what would have fitted.
SHORT = (
    "There is not enough memory on the device for a minibatch of {} cells: their gradients are "
    "added up over {} cells at a time, which is the same update but for batch norm, which sees "
    "these parts. batch_size={} would have fitted, and trains differently."
)

#: What is said where Lightning has the minibatch, and what to do.
UNDIVIDED = (
    "There is not enough memory on the device for a minibatch of {} cells, which cannot be halved "
    "where Lightning updates the weights: with several devices, lower precision, gradients that "
    "are clipped or accumulated."
)
SMALLER = "a smaller minibatch, model.train(batch_size={})"
