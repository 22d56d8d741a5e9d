"""The runner: scvi-tools', leaving a usable model behind when the training fails."""

from __future__ import annotations

import numpy as np
import scvi.train
import torch
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from torch import Tensor

from lucidvi.errors import DataError, TrainingError
from lucidvi.train._plan import NonFiniteLoss

#: Cells that are compared at once when one is looked for by its counts.
CHUNK = 4096


class TrainRunner(scvi.train.TrainRunner):
    """Train runner of scvi-tools that explains a loss that is not finite.

    Raises
    ------
    lucidvi.errors.TrainingError
        If the loss or a gradient becomes NaN or infinite. It names the step, the cell and the
        gene; the model then has the last good weights, and the history up to that step.
    """

    def __call__(self) -> None:
        """Train the model."""
        self._check_library_prior()
        try:
            super().__call__()
            self.training_plan.good_weights = {}
        except NonFiniteLoss as fault:
            self._leave_usable(fault)
            raise self._explain(fault) from fault

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

    def _leave_usable(self, fault: NonFiniteLoss) -> None:
        plan, model = self.training_plan, self.model
        if fault.what == "loss" and plan.good_weights:
            model.module.load_state_dict(plan.good_weights)
        model.train_indices = getattr(self.data_splitter, "train_idx", None)
        model.validation_indices = getattr(self.data_splitter, "val_idx", None)
        model.test_indices = getattr(self.data_splitter, "test_idx", None)
        model.module.eval()
        model.to_device(self.device)
        model.is_trained_ = model.is_trained_ or fault.epoch > 0

    def _explain(self, fault: NonFiniteLoss) -> TrainingError:
        weights = "before this step"
        if fault.what == "loss":
            weights = f"from the start of epoch {self.training_plan.good_epoch}"
            if not self.training_plan.good_weights:
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


def find_cell(manager: AnnDataManager | None, counts: Tensor | None) -> int | None:
    """Return the row of the first cell with exactly these counts, shape ``(n_genes,)``.

    Minibatches do not say which cells they hold, and on this path time does not matter.
    """
    if manager is None or counts is None:
        return None
    wanted, x = counts.numpy(), manager.get_from_registry(REGISTRY_KEYS.X_KEY)
    for start in range(0, x.shape[0], CHUNK):
        rows = x[start : start + CHUNK]
        rows = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
        same = np.flatnonzero((rows.astype(wanted.dtype) == wanted).all(axis=1))
        if len(same):
            return start + int(same[0])
    return None
