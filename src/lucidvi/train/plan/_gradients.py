"""The gradients of several processes, added up in one message a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lucidvi._ranks import Ranks


class Sums(NamedTuple):
    """What the processes of a training have besides gradients, added up.

    Parameters
    ----------
    loss
        The loss, nats a cell; not finite where that of one process is not.
    n_stopping
        Processes that were asked to stop.
    """

    loss: float
    n_stopping: int


class SummedGradients:
    """Gives each weight the sum of its gradients over all processes.

    One message has all gradients, since it is the number of messages that costs. It also says
    which weights have a gradient anywhere: a head that the likelihood has no use for has none,
    and no process sends it; where only the cells of another process have a modality, its
    gradient counts here too. Weights without one keep none, so that the optimizer passes over
    them as in a single process.

    Parameters
    ----------
    ranks
        The processes.
    weights
        Weights in the order that all processes have.
    sent
        Places of those whose gradients are sent from the start; others once they have one. Where
        a gradient lies in a message decides in which order more than two processes add it up.
    """

    def __init__(self, ranks: Ranks, weights: Iterable[Tensor], sent: Iterable[int] = ()) -> None:
        self.ranks, self.weights = ranks, list(weights)
        self.sent = list(sent)
        self._lay_out()

    def _lay_out(self) -> None:
        """Make room for one message, in which each gradient lies as its weight does."""
        weights = [self.weights[i] for i in self.sent]
        n_values = sum(weight.numel() for weight in weights)
        self.message = self.weights[0].new_zeros(n_values + len(self.weights) + 2)
        self.tail = self.message[n_values:]
        self.places: dict[int, Tensor] = {}
        start = 0
        for i, weight in zip(self.sent, weights, strict=True):
            self.places[i] = self.message.as_strided(weight.size(), weight.stride(), start)
            start += weight.numel()

    @torch.no_grad()
    def __call__(self, loss: Tensor, is_stopping: bool) -> Sums:
        """Add up the gradients, in place.

        Parameters
        ----------
        loss
            What this process adds to the loss, whose gradients the weights have.
        is_stopping
            Whether this process was asked to stop.
        """
        gradients = [weight.grad for weight in self.weights]
        for i, place in self.places.items():
            gradient = gradients[i]
            if gradient is None:
                place.zero_()
            else:
                place.copy_(gradient)
        said = [float(gradient is not None) for gradient in gradients]
        self.tail[:-1] = self.tail.new_tensor([*said, float(is_stopping)])
        self.tail[-1] = loss
        self.ranks.add_up(self.message)
        *n_with, n_stopping, total = self.tail.tolist()
        late = [i for i, n in enumerate(n_with) if n > 0 and i not in self.places]
        if late:  # weights that had no gradient before; all processes find the same ones
            self.sent = sorted([*self.sent, *late])
            self._lay_out()
            return self(loss, is_stopping)
        for i, weight in enumerate(self.weights):
            weight.grad = self.places[i] if n_with[i] > 0 else None
        return Sums(total, int(n_stopping))
