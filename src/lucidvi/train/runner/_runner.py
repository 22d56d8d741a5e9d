"""The runner: scvi-tools', leaving a usable model behind however the training ends."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import scvi.train
import torch
from lightning.pytorch import Callback, LightningModule
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.train import Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lucidvi._ranks import ALONE, ranks_of
from lucidvi.data import CellSplitter, StoredCounts
from lucidvi.errors import DataError, TrainingError
from lucidvi.kernels import warm_up
from lucidvi.train.checkpoints._checkpointing import CheckpointCallback, Checkpointing
from lucidvi.train.plan._faults import NonFiniteLoss, StoppedTogether
from lucidvi.train.plan._optimizers import OPTIMIZERS
from lucidvi.train.plan._plan import TrainingPlan
from lucidvi.train.plan._threads import ThreadsCallback
from lucidvi.train.runner._ending import NOT_TRAINED, LastEpoch, Start, how_far, leave_usable
from lucidvi.train.runner._process import (
    interrupts_held,
    is_stopped_by_hand,
    stopping_together,
)
from lucidvi.train.runner._quiet import replace_bar, speak_once
from lucidvi.train.runner._strategy import check_processes, with_own_strategy

logger = logging.getLogger(__name__)


class TrainRunner(scvi.train.TrainRunner):
    """Train runner of scvi-tools whose model can be used however the training ends.

    After a training that is stopped by hand, by a failing callback or by any exception the module
    is in evaluation mode, with the last good weights. Stopped by hand after its first epoch, a
    training ends as if it were over, with a line that says how far it came; before, and if the
    model had not been trained, the interrupt goes on.

    A model that is trained further learns as at first, with dropout and batch norm; scvi-tools'
    stays in evaluation mode.

    Raises
    ------
    lucidvi.errors.TrainingError
        If the loss or a gradient becomes NaN or infinite. It names the step, the cell and the
        gene; the model then has the last good weights, and the history up to that step.
    """

    #: The processes that end the training together; known at its end.
    ranks = ALONE

    def __init__(
        self, *args: Any, checkpointing: Checkpointing | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **with_own_strategy(kwargs))
        self.checkpointing = checkpointing
        check_processes(self.trainer, self.training_plan)
        plan, data = self.training_plan, self.data_splitter
        if self.trainer.world_size > 1:
            self.device = self.trainer.strategy.root_device
        if isinstance(data, CellSplitter):
            self._check_early_stopping(data)
            data.device = self.device
        replace_bar(self.trainer)
        speak_once(self.trainer)
        self.trainer.callbacks.append(LastEpoch())
        if checkpointing is not None:  # the first, so that no other has begun with a step
            self.trainer.callbacks.insert(0, CheckpointCallback(checkpointing, self.model, data))
        if not isinstance(plan, TrainingPlan):
            return
        self.trainer.callbacks.append(ThreadsCallback())
        if not isinstance(data, CellSplitter) or steps_belong_to_lightning(plan, self.trainer):
            plan.minibatches_per_step = 1
        else:
            data.group_size = plan.minibatches_per_step

    def _check_early_stopping(self, data: CellSplitter) -> None:
        """Insist on the cells that it looks at; scvi-tools does so for its own splitter alone."""
        callback = self.trainer.early_stopping_callback
        if callback is None:
            return
        n_test = self.model.adata.n_obs - data.n_train - data.n_val
        for kind, n_cells in (("validation", data.n_val), ("test", n_test)):
            if kind in callback.monitor and n_cells == 0:
                raise DataError(
                    f"Early stopping looks at {callback.monitor!r}, but there is no {kind} set.",
                    remedy="give a smaller `train_size`, "
                    "model.train(early_stopping=True, train_size=0.9)",
                )

    def __call__(self) -> None:
        """Train the model."""
        self._check_library_prior()
        if self.device.type == "cpu" and isinstance(self.training_plan, TrainingPlan):
            warm_up(families_of(self.model.module))
        super().__call__()

    def _run_training_core(self) -> None:
        """Let Lightning train, and leave a usable model."""
        if self.checkpointing is not None:
            self.checkpointing.begin(self.model, self.trainer.world_size)
        start = Start.of(self.model)
        try:
            let_learn(self.model.module)
            with stopping_together(self.training_plan, self.trainer):
                self.trainer.fit(self.training_plan, self.data_splitter, ckpt_path=self.ckpt_path)
        except BaseException as fault:
            self.ranks = ranks_of(self.trainer)
            if not isinstance(fault, NonFiniteLoss | StoppedTogether):
                self.ranks.leave()  # the others would wait for this process
                self.ranks = ALONE
            has_learned = self._leave_usable(start, fault)
            if isinstance(fault, NonFiniteLoss):
                raise self._explain(fault, has_learned) from fault
            if not is_stopped_by_hand(fault):
                fault.add_note(how_far(self.model, self.trainer, has_learned=has_learned))
                raise
            if not self.model.is_trained_:
                raise KeyboardInterrupt(NOT_TRAINED) from None
            if self.ranks.is_first:
                logger.warning(how_far(self.model, self.trainer, has_learned=has_learned))
        else:
            self.ranks = ranks_of(self.trainer)
            with interrupts_held():
                self._finish(start, has_learned=True)
                if self.checkpointing is not None and self.trainer.is_global_zero:
                    self.checkpointing.finish(self.model)

    def _leave_usable(self, start: Start, fault: BaseException) -> bool:
        """Return whether the model has learned from a training that was cut short."""
        with interrupts_held():
            plan = self.training_plan
            has_learned = leave_usable(self.model, plan, self.trainer, start, fault)
            self._finish(start, has_learned)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return has_learned

    def _finish(self, start: Start, has_learned: bool) -> None:
        """Give the model what belongs to its weights."""
        model, data = self.model, self.data_splitter
        # While it saves a model, a callback of scvi-tools says that it is, or is not, trained.
        model.is_trained_ = start.is_trained
        if has_learned:
            self._update_history()
            model.history_ = self.ranks.from_first(model.history_)
            model.train_indices = getattr(data, "train_idx", None)
            model.validation_indices = getattr(data, "val_idx", None)
            model.test_indices = getattr(data, "test_idx", None)
            model.is_trained_ = True
        for weight in model.module.parameters():
            weight.grad = None
        model.module.eval()
        model.to_device(self.device)
        self.ranks.copy_first(model.module.state_dict().values())
        self.ranks.draw_alike()
        model.trainer = self.trainer
        if isinstance(self.training_plan, TrainingPlan):
            self.training_plan.good_weights = {}

    def _check_library_prior(self) -> None:
        means = getattr(self.model.module, "library_log_means", None)
        if means is not None and not torch.isfinite(means).all():
            raise DataError(
                "The model has a latent library (`use_observed_lib_size=False`), but was made "
                "without AnnData, from which the prior of the library is read.",
                remedy="make the model from an AnnData, or with `use_observed_lib_size=True`.",
            )

    def _update_history(self) -> None:
        """Take over what was logged, also under names that an earlier training did not log."""
        before = dict(self.model.history_ or {}) if self.model.is_trained_ else {}
        super()._update_history()
        logged = getattr(self.trainer.logger, "history", None)
        if not before or not logged or not self.trainer.is_global_zero:
            return
        n_epochs = len(before.get("elbo_train", ()))
        for name in logged.keys() - before.keys():
            values = logged[name].copy()
            values.index = values.index + n_epochs
            self.model.history_[name] = values

    def _explain(self, fault: NonFiniteLoss, has_learned: bool) -> TrainingError:
        weights = f"from the start of epoch {self.training_plan.good_epoch}"
        if not has_learned:
            weights = "it started with"
        cell = find_cell(self.model.adata_manager, fault.counts)
        problem = f"The {fault.what} is NaN or infinite at step {fault.step}, epoch {fault.epoch}."
        if cell is not None and fault.counts is not None:
            name = self.model.adata.obs_names[cell]
            problem += f" The first cell at fault is {name!r} (row {cell}, "
            problem += f"{fault.counts.sum().item():,.0f} counts)"
            if fault.gene is not None:
                gene = self.model.get_var_names()[fault.gene]
                problem += f", in gene {gene!r} (count {fault.counts[fault.gene].item():,.0f})"
            problem += "."
        smaller = min(self.training_plan.lr / 10, 1e-3)
        remedy = f'a smaller learning rate, model.train(plan_kwargs={{"lr": {smaller:g}}})'
        if cell is None:
            problem += " No single cell is at fault."
        else:
            remedy += ", or leave out the cell named if its counts are not plausible"
        return TrainingError(
            f"{problem} The model keeps the weights {weights}.", remedy=f"{remedy}."
        )


def families_of(module: nn.Module) -> list[str]:
    """Return the names of a module's families of counts."""
    modalities: Any = getattr(module, "modalities", {})
    found = (getattr(each.likelihood, "family", None) for each in modalities.values())
    return [name for name in found if name is not None]


def let_learn(module: nn.Module) -> None:
    """Put a module into training mode, in which neither a training nor loading leaves it.

    Lightning takes modules as they are, so that scvi-tools goes on with a trained model without
    dropout and with batch norm frozen. Here only batch norms that surgery froze stay as they are.
    """
    module.train()
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.momentum == 0:
            layer.eval()


def steps_belong_to_lightning(plan: TrainingPlan, trainer: Trainer) -> bool:
    """Whether something was asked for that Lightning does at each step of its own.

    It then has to get one minibatch a step, and to update the weights itself.
    """
    return (
        trainer.accumulate_grad_batches != 1
        or bool(trainer.gradient_clip_val)
        or trainer.precision != "32-true"
        or trainer.max_steps != -1
        or trainer.limit_train_batches != 1.0
        or trainer.val_check_interval != 1.0
        or plan.optimizer_name not in OPTIMIZERS
        or plan.reduce_lr_on_plateau
        or plan.on_step
        or type(plan).training_step is not TrainingPlan.training_step
        or overrides(plan, LightningModule)
        or any(overrides(callback, Callback) for callback in trainer.callbacks)
    )


#: What Lightning calls between the loss and the update.
GRADIENT_HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


def overrides(hooked: Callback | LightningModule, base: type) -> bool:
    """Whether a callback or plan has a hook of its own between the loss and the update."""
    return any(getattr(type(hooked), n) is not getattr(base, n) for n in GRADIENT_HOOKS)


def find_cell(manager: AnnDataManager | None, counts: Tensor | None) -> int | None:
    """Return the row of the first cell with exactly these counts, shape ``(n_genes,)``.

    Minibatches do not say which cells they hold, and on this path time does not matter.
    """
    if manager is None or counts is None:
        return None
    wanted, x = counts.numpy(), manager.get_from_registry(REGISTRY_KEYS.X_KEY)
    for cells, rows in (x if isinstance(x, StoredCounts) else StoredCounts(x)).blocks():
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        same = np.flatnonzero((rows.astype(wanted.dtype) == wanted).all(axis=1))
        if len(same):
            return cells.start + int(same[0])
    return None
