"""What a training plan logs: the terms of the loss, as means over an epoch."""

from __future__ import annotations

from typing import Any

import scvi.train
from scvi.module.base import BaseModuleClass, LossOutput
from torch import Tensor

from lucidvi._ranks import ALONE
from lucidvi.train.plan._epoch_means import EpochMeans


class LoggedPlan(scvi.train.TrainingPlan):
    """Training plan of scvi-tools that reads the terms of the loss once an epoch.

    With ``on_step=True`` each step is logged, as by scvi-tools. Means are over the cells of all
    processes of a training.
    """

    #: The processes of the training; known from its start on.
    ranks = ALONE

    def __init__(self, module: BaseModuleClass, **kwargs: Any) -> None:
        super().__init__(module, **kwargs)
        self._means = {"train": EpochMeans("train"), "validation": EpochMeans("validation")}

    def initialize_train_metrics(self) -> None:
        """Make scvi-tools' metrics, where each step is logged; they take milliseconds to make."""
        if self.on_step:
            super().initialize_train_metrics()

    def initialize_val_metrics(self) -> None:
        """Do so for the validation cells."""
        if self.on_step:
            super().initialize_val_metrics()

    def on_train_epoch_end(self) -> None:
        """Log the means of an epoch that ended early."""
        self._log_means("train", self.n_obs_training)

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation cells."""
        self._log_means("validation", self.n_obs_validation)

    def _record(self, losses: LossOutput, mode: str) -> None:
        if self.on_step:
            self._log_step(losses, mode)
        else:
            self._means[mode].add(losses)
        if not losses.extra_metrics:
            return
        for name, value in losses.extra_metrics.items():
            if not self.on_step and (not isinstance(value, Tensor) or value.ndim == 0):
                self._means[mode].add_further(name, value, losses.n_obs_minibatch)
        if "z" in losses.extra_metrics:
            stage = "training" if mode == "train" else mode
            self.prepare_scib_autotune(losses.extra_metrics, stage)

    def training_state(self) -> dict[str, Any]:
        """Return what the plan keeps from one step to the next, of plain types and tensors."""
        return {"means": {mode: means.state() for mode, means in self._means.items()}}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on with what :meth:`training_state` returned."""
        for mode, means in self._means.items():
            means.load(state["means"][mode], self.device)

    def _log_step(self, losses: LossOutput, mode: str) -> None:
        """Log each minibatch, which ``on_step=True`` asks for."""
        how = {"on_step": True, "on_epoch": self.on_epoch, "sync_dist": self.use_sync_dist}
        self.log(f"{mode}_loss", losses.loss, prog_bar=mode == "train", **how)
        if mode == "train":
            self.log("kl_weight", self.loss_kwargs.get("kl_weight", 1.0), on_step=True)
            self.trainer.logger.log_metrics({"train_loss_step": losses.loss}, self.global_step)
        metrics = self.train_metrics if mode == "train" else self.val_metrics
        self.compute_and_log_metrics(losses, metrics, mode)

    def _log_means(self, mode: str, n_total: int | None) -> None:
        means = self._means[mode].take(n_total, self.ranks)
        if not means:
            return
        if mode == "train" and "kl_weight" in self.loss_kwargs:
            means["kl_weight"] = float(self.loss_kwargs["kl_weight"])
        how = {"on_step": False, "on_epoch": True, "batch_size": 1}
        loss = {f"{mode}_loss": means.pop(f"{mode}_loss")}
        self.log_dict(loss, prog_bar=mode == "train", **how)
        self.log_dict(means, **how)
