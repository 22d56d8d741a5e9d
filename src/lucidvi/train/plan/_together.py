"""A training plan of which several processes each do a share of every minibatch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch import Tensor

from lucidvi._ranks import computing_together, ranks_of
from lucidvi.data import Minibatch, total_of
from lucidvi.nn import frozen_batch_norm
from lucidvi.train.plan._faults import (
    NonFiniteLoss,
    StoppedTogether,
    check_gradients,
    first_fault,
    locate,
)
from lucidvi.train.plan._gradients import SummedGradients
from lucidvi.train.plan._with_practices import PlanWithPractices


class PlanTogether(PlanWithPractices):
    r"""Training plan by which several processes train as one.

    Each process has a share of every minibatch. Their losses are weighted by its cells,

    .. math:: L = \sum_r \frac{n_r}{n} L_r

    and the gradients added up, so that the weights are updated as by one process that has the
    whole minibatch; batch norm is over the cells of all. Weights are the same in all processes
    from the start of each epoch on, whatever the practices of a training do.
    """

    #: Whether this process was asked to stop; set by the runner.
    is_stopping = False
    #: Places of the weights whose gradients were sent before an interruption.
    _sent: Sequence[int] = ()

    def on_fit_start(self) -> None:
        """Start all processes at the weights of the first."""
        self.ranks = ranks_of(self.trainer)
        self._weights_of_first()
        super().on_fit_start()
        self._weights_of_first()
        self.ranks.draw_apart()
        if self.ranks.are_several:
            weights = self.plain_module.parameters()
            self._gradients = SummedGradients(self.ranks, weights, self._sent)
            self._begin()

    def training_state(self) -> dict[str, Any]:
        """Return what the plan keeps from one step to the next."""
        sent = self._gradients.sent if self.ranks.are_several else []
        return {**super().training_state(), "sent": sent}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on with what :meth:`training_state` returned."""
        super().load_training_state(state)
        self._sent = state["sent"]

    def on_train_epoch_start(self) -> None:
        """Let practices act before an epoch, and go on from the weights of the first process."""
        super().on_train_epoch_start()
        self._weights_of_first()

    def _weights_of_first(self) -> None:
        self.ranks.copy_first(self.plain_module.state_dict().values())

    def _begin(self) -> None:
        """Begin a sum of gradients."""
        self._loss, self._is_first = 0.0, False
        self._fault: NonFiniteLoss | None = None

    @contextmanager
    def as_share(self, minibatch: Minibatch) -> Iterator[None]:
        """Compute over all cells of a minibatch, of which this process has some.

        One cell, or fewer than processes, have no variance over a minibatch: batch norm then uses
        its running statistics.
        """
        _, n_total = self.n_cells_of(minibatch)
        if n_total < max(2, self.ranks.number):
            context = frozen_batch_norm(self.module)
        else:
            context = computing_together(self.ranks)
        with context:
            yield

    def share_of(self, minibatch: Minibatch) -> float:
        """Return the share of the cells of a minibatch that this process has, in (0, 1] or 0."""
        return self.ranks.weight(*self.n_cells_of(minibatch))

    def n_cells_of(self, minibatch: Minibatch) -> tuple[int, int]:
        """Count the cells of a minibatch here, and in all processes."""
        n_cells = len(minibatch[REGISTRY_KEYS.X_KEY])
        if not self.ranks.are_several:
            return n_cells, n_cells
        return n_cells, total_of(minibatch) or int(self.ranks.total([n_cells])[0])

    def note_share(
        self, losses: LossOutput, share: float, x: Tensor, outputs: dict[str, Any]
    ) -> None:
        """Keep what the others are told of a minibatch when gradients are added up.

        Parameters
        ----------
        losses, outputs
            What the module returned for the cells.
        share
            Share of the cells that these are.
        x
            Their counts.
        """
        if not math.isfinite(losses.loss.item()):
            self._fault = self.fault_of(x, outputs, losses)
        self._loss = self._loss + share * losses.loss.detach()

    def note_first(self) -> None:
        """Keep the weights, once all processes have found that they gave a finite loss."""
        if self.ranks.are_several:
            self._is_first = True
        else:
            self.keep_weights()

    def add_up_gradients(self) -> None:
        """Give the weights the gradients of all processes, or end all of them together."""
        if not self.ranks.are_several:
            return
        sums = self._gradients(torch.as_tensor(self._loss), self.is_stopping)
        if not math.isfinite(sums.loss):
            raise first_fault(self.ranks.of_all(self._fault), self.global_step, self.current_epoch)
        if self._is_first:
            self.keep_weights()
        self._begin()
        if sums.n_stopping > 0:
            raise StoppedTogether

    def keep_weights(self) -> None:
        """Keep weights that gave a finite loss, which those after an update have not yet."""
        self.good_epoch = self.current_epoch
        weights = self.plain_module.state_dict()
        self.good_weights = {name: w.detach().clone() for name, w in weights.items()}

    def fault_of(self, x: Tensor, outputs: dict[str, Any], losses: LossOutput) -> NonFiniteLoss:
        """Find out why the loss of a minibatch is not finite."""
        try:
            check_gradients(self)
        except NonFiniteLoss as fault:
            return fault
        return locate(x, outputs, losses, self.global_step, self.current_epoch)
