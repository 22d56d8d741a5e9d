"""Training, with presets for what its arguments leave open."""

from __future__ import annotations

import time
from typing import Any

from scvi.model.base import UnsupervisedTrainingMixin

from lucidvi._compat import merge_kwargs
from lucidvi.data import CellSplitter, CheckedAnnDataManager
from lucidvi.train import PRESETS, TrainingPlan, TrainRunner, plan_arguments


class TrainingMixin(UnsupervisedTrainingMixin):
    """Train method of scvi-tools' models, fast."""

    _data_splitter_cls = CellSplitter
    _training_plan_cls = TrainingPlan
    _train_runner_cls = TrainRunner

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        load_sparse_tensor: bool = False,
        batch_size: int | None = None,
        early_stopping: bool = False,
        datasplitter_kwargs: dict[str, Any] | None = None,
        plan_config: Any = None,
        plan_kwargs: Any = None,
        datamodule: Any = None,
        trainer_config: Any = None,
        *,
        preset: str = "lucid",
        **trainer_kwargs: Any,
    ) -> Any:
        """Train the model.

        Differs from scvi-tools: ``preset`` says what holds where an argument is not given, by
        default a shorter training that reaches a higher held-out likelihood; minibatches are
        sparse, and several share a step of Lightning; a model that is trained further learns as
        at first, and not in evaluation mode; ``training_seconds_`` adds up how long it took.

        Parameters
        ----------
        max_epochs
            Passes through the training cells; by default those of the preset.
        accelerator, devices
            Where to train, see :class:`lightning.pytorch.Trainer`.
        train_size, validation_size, shuffle_set_split
            Shares of the cells to train and validate with, by default 0.9 and the rest, and
            whether they are drawn at random.
        load_sparse_tensor
            Accepted for scripts that give it: counts are always loaded sparse.
        batch_size
            Cells a minibatch; by default that of the preset.
        early_stopping
            Stop when the ELBO of the validation cells no longer rises.
        datasplitter_kwargs
            Passed to :class:`scvi.dataloaders.DataSplitter`.
        plan_config, plan_kwargs
            Arguments of :class:`lucidvi.train.TrainingPlan`, such as the ``objective``; the second
            take precedence, and both over the preset.
        datamodule
            Lightning data module to train with, if the model was made without AnnData.
        trainer_config, **trainer_kwargs
            Arguments of :class:`scvi.train.Trainer`.
        preset
            ``"lucid"``: a tenth of scvi-tools' epochs, started at the mean and dispersion of each
            gene, with a learning rate of up to 2e-2 in one cycle, and the weight of the KL term
            rising over the first 30 % of the training. ``"scvi"``: as scvi-tools trains.

        Raises
        ------
        ValueError
            If the preset does not exist.
        lucidvi.errors.TrainingError
            If the loss or a gradient becomes NaN or infinite.
        """
        if preset not in PRESETS:
            choices = ", ".join(map(repr, PRESETS))
            raise ValueError(f"`preset` is {preset!r}; it must be one of {choices}.")
        manager = getattr(self, "_adata_manager", None)
        if datamodule is None and isinstance(manager, CheckedAnnDataManager):
            manager.check_unchanged()
        chosen = PRESETS[preset]
        if max_epochs is None:
            n_cells = getattr(self.adata if datamodule is None else datamodule, "n_obs", None)
            max_epochs = None if n_cells is None else chosen.max_epochs(n_cells)
        plan_kwargs = merge_kwargs(plan_config, plan_kwargs, name="plan")
        if issubclass(self._training_plan_cls, TrainingPlan):
            plan_kwargs = plan_arguments(chosen, plan_kwargs)
        start = time.perf_counter()
        result = super().train(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            train_size=train_size,
            validation_size=validation_size,
            shuffle_set_split=shuffle_set_split,
            load_sparse_tensor=load_sparse_tensor,
            batch_size=batch_size or chosen.batch_size,
            early_stopping=early_stopping,
            datasplitter_kwargs=datasplitter_kwargs,
            plan_kwargs=plan_kwargs,
            datamodule=datamodule,
            trainer_config=trainer_config,
            **trainer_kwargs,
        )
        before = getattr(self, "training_seconds_", 0.0)
        self.training_seconds_ = before + time.perf_counter() - start
        return result
