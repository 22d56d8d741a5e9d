"""What a practice is: something that a training does besides the steps of its optimizer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch

from lucidvi.data import CellSplitter


class Training(Protocol):
    """What a practice can ask of the training that it is part of."""

    @property
    def plain_module(self) -> Any:
        """The module, also where a compiled one stands before it."""

    @property
    def data(self) -> CellSplitter | None:
        """The data, if cells can be read besides the minibatches."""

    @property
    def is_from_scratch(self) -> bool:
        """Whether the training started with the random weights of a new module."""

    @property
    def device(self) -> torch.device:
        """Where the module is."""

    @property
    def global_rank(self) -> int:
        """Number of the process among those of the training; 0 speaks for all."""

    @property
    def global_step(self) -> int:
        """Number of updates done."""

    @property
    def progress(self) -> float:
        """Share of the training's steps done, with the present one or, between two, the next.

        Zero in a training that has no last step.
        """

    @property
    def kl_weight(self) -> float:
        """Weight of the KL term at the present step."""

    @property
    def max_kl_weight(self) -> float:
        """Weight to which that of the KL term rises."""


@dataclass(eq=False)
class Practice:
    """Something that a training does besides the steps of its optimizer.

    A practice is a dataclass. Its fields are its options: they are read from ``plan_kwargs`` under
    their names, and ``__post_init__`` checks their values. The first option switches the practice
    on. A training makes a practice of its own, which may keep what it needs from one hook to the
    next.

    What a practice keeps in attributes of its own is part of a checkpoint: numbers, text, tensors
    on the device of the module, and containers of these.

    A practice implements the hooks that it needs; those of several practices are called in the
    order of :data:`PRACTICES`.
    """

    #: Whether the weights are at present changed in part: a training that ends now takes those
    #: from the start of its epoch.
    is_pending = False

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the defaults of the options, by name."""
        return {field.name: field.default for field in fields(cls)}

    @property
    def is_on(self) -> bool:
        """Whether the first option is anything but None, False and zero."""
        return bool(getattr(self, next(iter(self.options()))))

    def state(self) -> dict[str, Any]:
        """Return what is kept from one hook to the next: the attributes that are no options."""
        return {name: kept for name, kept in vars(self).items() if name not in self.options()}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with what :meth:`state` returned.

        Parameters
        ----------
        state
            Attributes by name.
        device
            Where tensors go.
        """
        vars(self).update(on_device(state, device))

    def check(self, module: Any) -> None:
        """Raise a :class:`~lucidvi.errors.DataError` if a module cannot be trained with it."""
        return

    def on_fit_start(self, training: Training) -> None:
        """Act before the first step, when the data have been split."""
        return

    def on_epoch_start(self, training: Training) -> None:
        """Act before each epoch."""
        return

    def around_minibatch(self, training: Training) -> AbstractContextManager[None]:
        """Return what holds while the loss of a training minibatch is computed."""
        return nullcontext()

    def on_step_end(self, training: Training) -> None:
        """Act after each step, which may be of several minibatches and as many updates.

        Between two steps the module is one that files, callbacks and inference can use.
        """
        return

    def on_epoch_end(self, training: Training) -> None:
        """Act after each epoch."""
        return

    def on_end(self, training: Training) -> None:
        """Act after a training that ended well, with weights that are finite."""
        return


def on_device(kept: Any, device: torch.device) -> Any:
    """Return tensors, and those in dictionaries, lists and tuples, on a device."""
    if isinstance(kept, torch.Tensor):
        return kept.to(device)
    if isinstance(kept, dict):
        return {key: on_device(value, device) for key, value in kept.items()}
    if isinstance(kept, list | tuple):
        return type(kept)(on_device(value, device) for value in kept)
    return kept
