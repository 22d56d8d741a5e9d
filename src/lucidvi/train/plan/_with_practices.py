"""A training plan that goes through practices, and what these can ask of it."""

from __future__ import annotations

from typing import Any

from scvi.module.base import BaseModuleClass

from lucidvi.data import CellSplitter
from lucidvi.train.plan._logged import LoggedPlan
from lucidvi.train.practices import make_practices


class PlanWithPractices(LoggedPlan):
    """Training plan that calls the hooks of practices, in the order of their table.

    Parameters
    ----------
    module
        Module to train.
    **kwargs
        Options of practices, see :data:`lucidvi.train.PRACTICES`, and arguments of
        :class:`scvi.train.TrainingPlan`.
    """

    def __init__(self, module: BaseModuleClass, **kwargs: Any) -> None:
        practices, kwargs = make_practices(kwargs)
        super().__init__(module, **kwargs)
        self.practices = practices
        #: Whether the training goes on where another process was interrupted.
        self.is_resumed = False
        for practice in practices:
            practice.check(self.plain_module)

    @property
    def plain_module(self) -> Any:
        """The module itself, also where it was compiled."""
        return getattr(self.module, "_orig_mod", self.module)

    @property
    def data(self) -> CellSplitter | None:
        """The data, if cells can be read besides the minibatches."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, CellSplitter) else None

    @property
    def is_from_scratch(self) -> bool:
        """Whether the training started with the random weights of a new module."""
        return getattr(self.plain_module, "is_fresh", False) and self.trainer.ckpt_path is None

    @property
    def is_whole(self) -> bool:
        """Whether no practice is about to change the weights further."""
        return not any(practice.is_pending for practice in self.practices)

    def training_state(self) -> dict[str, Any]:
        """Return what plan and practices keep from one step to the next."""
        practices = {type(it).__name__: it.state() for it in self.practices}
        return {**super().training_state(), "practices": practices}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on with what :meth:`training_state` returned, and not from a new start."""
        super().load_training_state(state)
        self.is_resumed = True
        for practice in self.practices:
            practice.load(state["practices"][type(practice).__name__], self.device)

    def on_fit_start(self) -> None:
        """Let practices give the module its start, unless it had it before an interruption."""
        if self.is_resumed:
            return
        for practice in self.practices:
            practice.on_fit_start(self)

    def on_train_epoch_start(self) -> None:
        """Let practices act before an epoch."""
        for practice in self.practices:
            practice.on_epoch_start(self)

    def on_train_batch_end(self, *args: Any) -> None:
        """Let practices act after a step."""
        for practice in self.practices:
            practice.on_step_end(self)

    def on_train_epoch_end(self) -> None:
        """Log an epoch that ended early, and let practices act after it."""
        super().on_train_epoch_end()
        for practice in self.practices:
            practice.on_epoch_end(self)
