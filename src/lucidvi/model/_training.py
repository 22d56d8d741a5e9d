"""Training, with presets for what its arguments leave open."""

from __future__ import annotations

import inspect
import time
from datetime import timedelta
from os import PathLike
from typing import Any

from scvi.model.base import UnsupervisedTrainingMixin

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type, device_of
from lucidvi._kinds import check_kinds
from lucidvi._progress import settings
from lucidvi.checks import check_choice
from lucidvi.data import CellSplitter, CheckedAnnDataManager
from lucidvi.errors import DataError
from lucidvi.model._arguments import (
    as_mapping,
    check_plan,
    check_training,
    check_values,
    check_whence,
)
from lucidvi.model._resuming import checkpointing_of
from lucidvi.train import (
    PRESETS,
    TrainingPlan,
    TrainRunner,
    plan_arguments,
    preset_for,
    process_put_back,
    quiet_lightning,
    say_which,
)

#: Arguments of a training that a model remembers, where they are given, besides those of its plan.
REMEMBERED = (
    "train_size",
    "validation_size",
    "batch_size",
    "early_stopping",
    "datasplitter_kwargs",
    "plan_kwargs",
    "preset",
)


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
        checkpoint_every: str | int | timedelta | None = None,
        checkpoint_dir: str | PathLike[str] | None = None,
        resume_from: str | PathLike[str] | None = None,
        **trainer_kwargs: Any,
    ) -> Any:
        """Train the model.

        Differs from scvi-tools: ``preset`` says what holds where an argument is not given, by
        default a shorter training that reaches a higher held-out likelihood; minibatches are
        sparse, and several share a step of Lightning; a model that is trained further learns as
        at first, and not in evaluation mode; ``training_seconds_`` adds up how long it took.

        A training that is stopped by hand (Ctrl-C, a notebook's stop button) after its first
        epoch returns, with a line that says after how many epochs, and leaves a model that is
        trained that far. Whatever ends a training, the model keeps its last good weights and is
        in evaluation mode.

        With checkpoints a training goes on in another process as if it had not been interrupted:
        on the CPU with the same bits. ``model.train(checkpoint_dir="run1", resume_from="run1")``
        in a script that is started again and again begins, goes on, and, once the training is
        over, returns at once with what came out of it.

        With ``devices=4, strategy="ddp"`` each minibatch is shared by four processes, whose
        gradients are added up: process :math:`r` takes every fourth of its cells from the
        :math:`r`-th on. ``batch_size``, steps and schedules are those of one process, batch norm
        is over all cells of a minibatch, and metrics over those of all processes, so that the
        number of devices changes nothing but draws. Afterwards each process has the trained
        model, and the first one, ``model.trainer.is_global_zero``, saves it. Processes are started
        by running the script again, or by torchrun or SLURM. An error in one of them ends all.

        Parameters
        ----------
        max_epochs
            Passes through the training cells; by default those of the preset.
        accelerator, devices
            Where to train, see :class:`lightning.pytorch.Trainer`. Several devices, with
            ``strategy="ddp"``, train as one does, in a process each that runs the same script.
        train_size, validation_size, shuffle_set_split
            Shares of the cells to train and validate with, by default 0.9 and the rest, and
            whether they are drawn at random.
        load_sparse_tensor
            Accepted for scripts that give it: counts are always loaded sparse.
        batch_size
            Cells a minibatch, of all devices together; by default that of the preset.
        early_stopping
            Stop when the ELBO of the validation cells no longer rises.
        datasplitter_kwargs
            Passed to :class:`lucidvi.data.CellSplitter`, such as ``external_indexing``. Cells in
            a file come in blocks of ``block_size`` cells that lie beside each other, and are
            shuffled in a buffer of ``buffer_size`` cells, by default 64 MB of counts.
        plan_config, plan_kwargs
            Arguments of :class:`lucidvi.train.TrainingPlan`, such as the ``objective``; the second
            take precedence, and both over the preset.
        datamodule
            Lightning data module to train with, if the model was made without AnnData.
        trainer_config, **trainer_kwargs
            Arguments of :class:`scvi.train.Trainer`, such as ``strategy`` and ``num_nodes``, the
            number of machines with ``devices`` each.
        preset
            ``"lucid"``: a tenth of scvi-tools' epochs, started at the mean and dispersion of each
            gene, with a learning rate of up to 2e-2 in one cycle, and the weight of the KL term
            rising over the first 30 % of the training; for 2,500 cells and more of one batch a
            twentieth of scvi-tools' epochs, started at linear factors of the cells too, with a
            rate of up to 3e-2 and short memories of Adam; for several modalities a quarter, or,
            where one has fewer counts than its decoder has weights, a ninth.
            ``"scvi"``: as scvi-tools trains.
        checkpoint_every
            How often a checkpoint is written: a duration with its unit (``"10min"``, ``"30s"``,
            ``"2h"``), or a number of updates; by default every 10 minutes where a folder is
            given. It is written at the end of the steps that are under way then, of up to ten
            updates; a first one is written at once.
        checkpoint_dir
            Folder of the checkpoints, the newest two; made if it does not exist, by default that
            of ``resume_from``. A folder with checkpoints of a training is never written to by
            another.
        resume_from
            Folder of the checkpoints from which the training goes on, with the same data, model
            and arguments. If ``checkpoint_dir`` is the same, there need not be one yet.

        Raises
        ------
        lucidvi.errors.ArgumentError
            If an argument does not exist, here or in one of the dictionaries.
        lucidvi.errors.DataError
            If the preset does not exist, or an argument has a value that makes no sense.
        lucidvi.errors.TrainingError
            If the loss or a gradient becomes NaN or infinite, or there is too little memory.
        lucidvi.errors.FileError
            If a checkpoint cannot be read or written, is of another training, or would be lost.
        KeyboardInterrupt
            If the training is stopped by hand before the end of its first epoch, and the model
            was not trained before.
        """
        arguments = locals()
        check_kinds(inspect.signature(TrainingMixin.train), arguments, bounded=False)
        check_choice("preset", preset, PRESETS)
        check_whence(accelerator, devices, datamodule)
        manager = getattr(self, "_adata_manager", None)
        if datamodule is None and isinstance(manager, CheckedAnnDataManager):
            manager.check_unchanged()
            _check_not_minified(manager.adata)
        plan_kwargs = as_mapping("plan_config", plan_config) | as_mapping(
            "plan_kwargs", plan_kwargs
        )
        datasplitter_kwargs = as_mapping("datasplitter_kwargs", datasplitter_kwargs)
        # A configuration's devices and epochs give way to the arguments, which the runner sees to.
        trainer_config = with_own_callbacks(as_mapping("trainer_config", trainer_config))
        trainer_kwargs = with_own_callbacks(trainer_kwargs)
        check_training(self, trainer_config | trainer_kwargs, plan_kwargs, datasplitter_kwargs)
        check_plan(self._training_plan_cls, plan_kwargs)
        check_values(max_epochs, batch_size, train_size, validation_size, plan_kwargs.get("lr"))
        n_cells = getattr(self.adata if datamodule is None else datamodule, "n_obs", None)
        defaults = preset_for(self.module, preset, n_cells)
        if issubclass(self._training_plan_cls, TrainingPlan):
            plan_kwargs = plan_arguments(defaults, plan_kwargs)
            if preset == "lucid" and max_epochs is not None and n_cells is not None:
                say_which(max_epochs, defaults.max_epochs(n_cells), plan_kwargs["lr"])
        if max_epochs is None and n_cells is not None:
            max_epochs = defaults.max_epochs(n_cells)
        resolved: dict[str, Any] = {
            "max_epochs": None if max_epochs is None else int(max_epochs),
            "train_size": train_size,
            "validation_size": validation_size,
            "shuffle_set_split": shuffle_set_split,
            "batch_size": int(batch_size or defaults.batch_size),
            "early_stopping": early_stopping,
            "datasplitter_kwargs": datasplitter_kwargs,
            "plan_kwargs": plan_kwargs,
            "trainer_config": trainer_config,
            **trainer_kwargs,
        }
        checkpointing = checkpointing_of(
            self,
            checkpoint_every,
            checkpoint_dir,
            resume_from,
            datamodule,
            {**resolved, "preset": preset},
        )
        # Not kept in a saved model; whoever trains the model again wants to know.
        self._trained_with = {name: arguments[name] for name in REMEMBERED if arguments[name]}
        if checkpointing is not None:
            if checkpointing.load_finished(self):
                self.to_device(device_of(accelerator, devices))
                self.preset_ = preset
                return None
            resolved["checkpointing"] = checkpointing
        if not settings.progress_bars:
            resolved.setdefault("enable_progress_bar", False)
        start = time.perf_counter()
        try:
            with quiet_lightning(), process_put_back(n_cells):
                return super().train(
                    accelerator=accelerator,
                    devices=devices,
                    load_sparse_tensor=load_sparse_tensor,
                    datamodule=datamodule,
                    **resolved,
                )
        finally:
            before = getattr(self, "training_seconds_", 0.0)
            self.training_seconds_ = before + time.perf_counter() - start
            if self.is_trained_:
                self.preset_ = preset


def _check_not_minified(adata: Any) -> None:
    if adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
        raise DataError(
            "`train` needs counts, and the AnnData is minified: they were replaced by latent "
            "states.",
            remedy="model.adata = adata, with the AnnData that has the counts, and train again.",
        )


def with_own_callbacks(trainer_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with a list of callbacks that nobody else holds.

    scvi-tools adds its own to the very list, and a bar more at each training that shares it.
    """
    if "callbacks" not in trainer_kwargs:
        return trainer_kwargs
    callbacks = trainer_kwargs["callbacks"] or []
    several = isinstance(callbacks, list | tuple)
    return {**trainer_kwargs, "callbacks": list(callbacks) if several else [callbacks]}
