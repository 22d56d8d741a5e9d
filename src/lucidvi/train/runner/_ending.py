"""What a training leaves behind, however it ends: a module that can be used, and one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

from lucidvi.train.plan._faults import NonFiniteLoss

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Start:
    """A model as it was before a training.

    Parameters
    ----------
    weights
        Its weights.
    is_trained, is_fresh
        Whether a training had ended before, and whether the weights were the random ones.
    """

    weights: Weights
    is_trained: bool
    is_fresh: bool

    @classmethod
    def of(cls, model: Any) -> Start:
        """Take a copy of what a training changes."""
        weights = {n: w.detach().clone() for n, w in model.module.state_dict().items()}
        return cls(weights, bool(model.is_trained_), getattr(model.module, "is_fresh", False))

    def put_back(self, model: Any) -> None:
        """Leave the model as if the training had not begun."""
        model.module.load_state_dict(self.weights)
        model.is_trained_ = self.is_trained
        if hasattr(model.module, "is_fresh"):
            model.module.is_fresh = self.is_fresh


class LastEpoch(Callback):
    """Logs the epoch that ended a training in one of the callbacks that are called at its end.

    Lightning logs an epoch after all of these.
    """

    def on_exception(self, trainer: Any, pl_module: LightningModule, exception: Any) -> None:
        """Log what has not been logged yet."""
        epochs = trainer.fit_loop.epoch_progress.current
        if epochs.processed == epochs.completed:
            return
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if "train" in name or name == "kl_weight"
        }
        for logger in trainer.loggers if metrics else ():
            logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, trainer.global_step)


def n_epochs_done(trainer: Any) -> int:
    """Count the epochs whose minibatches have all been seen."""
    return trainer.fit_loop.epoch_progress.current.processed


def leave_usable(model: Any, plan: Any, trainer: Any, start: Start, fault: BaseException) -> bool:
    """Give a model whose training was cut short the last good weights.

    These are the present ones; or, where they are not finite or about to be changed further,
    those from the start of the epoch. Before the first epoch is done the model is left as it was
    before the training.

    Parameters
    ----------
    model, plan, trainer
        After the end.
    start
        The model before the training.
    fault
        Why it ended.

    Returns
    -------
    Whether the model has learned anything from the training.
    """
    good = getattr(plan, "good_weights", {})
    if n_epochs_done(trainer) == 0:
        start.put_back(model)
        return False
    is_whole = getattr(plan, "is_whole", True) and not isinstance(fault, NonFiniteLoss)
    if not is_whole or not is_finite(model.module):
        if not good:
            start.put_back(model)
            return False
        model.module.load_state_dict(good)
    if hasattr(model.module, "is_fresh"):
        model.module.is_fresh = False
    return True


def is_finite(module: nn.Module) -> bool:
    """Whether all weights and running statistics are finite numbers."""
    tensors = module.state_dict().values()
    return all(bool(torch.isfinite(w).all()) for w in tensors if w.is_floating_point())


#: What an interrupt says that leaves no trained model.
NOT_TRAINED = (
    "The training was stopped before the end of its first epoch: the model is not trained. "
    "model.train() starts again."
)


def how_far(model: Any, trainer: Any, *, has_learned: bool) -> str:
    """Say in one line after how many epochs a training ended early, and what the model is now."""
    of_all = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
    if has_learned:
        now = "the model is trained that far, and can be used"
    elif model.is_trained_:
        now = "the model is as it was before this training, and can be used"
    else:
        now = "the model is not trained"
    return f"The training was stopped after {n_epochs_done(trainer)}{of_all} epochs: {now}."
