"""A training that writes checkpoints, and goes on from one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lucidvi._random import generator_states, put_generators_back
from lucidvi._ranks import ranks_of
from lucidvi.errors import DataError, FileError
from lucidvi.files import Checkpoints, frame_of, plain_frame
from lucidvi.train.checkpoints._every import Every
from lucidvi.train.checkpoints._fit import check_same
from lucidvi.train.checkpoints._state import (
    can_be_interrupted,
    go_on,
    load_training_state,
    states_of_processes,
    training_state,
)

#: What is worth a line where someone watches; follows ``scvi.settings.verbosity``.
news = logging.getLogger("scvi.lucidvi")

#: How often a checkpoint is written where nothing says so.
EVERY = "10min"


class Checkpointing:
    """Where a training writes checkpoints, how often, and the one from which it goes on.

    Parameters
    ----------
    every, folder, resume_from
        Arguments of ``train``, of which at least one is given.

    Raises
    ------
    lucidvi.errors.DataError
        If they do not say where.
    """

    def __init__(
        self,
        every: Any,
        folder: str | PathLike[str] | None,
        resume_from: str | PathLike[str] | None,
    ) -> None:
        self.every = Every.of(EVERY if every is None else every)
        target = resume_from if folder is None else folder
        if target is None:
            raise DataError(
                f"`checkpoint_every` is {every!r}, but no folder is given for the checkpoints.",
                remedy=f'model.train(checkpoint_every={every!r}, checkpoint_dir="run1")',
            )
        self.checkpoints = Checkpoints(target)
        self.source = None if resume_from is None else Checkpoints(resume_from)
        if resume_from is not None and _whole(resume_from) == _whole(target):
            self.source = self.checkpoints
        #: Whether there may be no checkpoint yet: the training itself writes it.
        self.may_begin = folder is not None and self.source is self.checkpoints
        self.saved: dict[str, Any] | None = None
        self.signature: dict[str, str] = {}
        self._start = time.perf_counter()

    def find(self, signature: Mapping[str, str]) -> None:
        """Read the checkpoint from which the training goes on, if there is one.

        Nothing but :attr:`saved` is set.

        Parameters
        ----------
        signature
            What the training is of: versions, data, model and arguments, as text by name.

        Raises
        ------
        lucidvi.errors.FileError
            If there is none where there should be, one is there that would be lost, none can be
            read, or it is of another training.
        """
        self.signature = dict(signature)
        folder = self.checkpoints.folder
        if self.checkpoints and self.source is not self.checkpoints:
            raise FileError(
                f"{folder} has checkpoints of a training already, which this one would replace.",
                remedy=f'go on with that one, resume_from="{folder}"; or give another '
                f"`checkpoint_dir`, or delete it: rm -r {folder}",
            )
        if self.source is None:
            return
        self.saved = self.source.read()
        if self.saved is not None:
            check_same(self.saved.get("signature", {}), self.signature, self.source.folder)
        elif not self.may_begin:
            raise FileError(
                f"There is no checkpoint in {self.source.folder}, from which the training should "
                "go on.",
                remedy=f'model.train(checkpoint_dir="{folder}", resume_from="{folder}") begins '
                "where there is none yet.",
            )

    # -- what a training leaves

    def write(self, model: Any, n_steps: int, rest: Mapping[str, Any]) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        model
            The model.
        n_steps
            Number of updates done.
        rest
            All that is not said by the model: of a training under way its state, and those of
            its processes.
        """
        before = float(getattr(model, "training_seconds_", 0.0))
        history = {
            name: plain_frame(frame, f"history[{name!r}]")
            for name, frame in (model.history_ or {}).items()
        }
        of_model = {
            "signature": self.signature,
            "weights": model.module.state_dict(),
            "is_fresh": bool(getattr(model.module, "is_fresh", False)),
            "is_trained": bool(model.is_trained_),
            "history": history,
            "seconds": before + time.perf_counter() - self._start,
        }
        self.checkpoints.write(n_steps, {**of_model, **rest})
        self.every.restart(n_steps)

    def finish(self, model: Any) -> None:
        """Write what came out of a training that is over, from which another returns at once."""
        indices = {name: getattr(model, name) for name in INDICES}
        processes = [{"generators": generator_states()}]
        rest = {"finished": True, "indices": indices, "processes": processes}
        self.write(model, model.trainer.global_step, rest)

    # -- what it finds

    def begin(self, model: Any, n_processes: int) -> None:
        """Give a model that is about to train the weights and the past of the checkpoint, if any.

        Parameters
        ----------
        model
            The model.
        n_processes
            Number of processes that train it.

        Raises
        ------
        lucidvi.errors.FileError
            If the training had another number of them.
        """
        if self.saved is not None and self.source is not None:
            before = {"the number of processes": str(len(self.saved["processes"]))}
            now = {"the number of processes": str(n_processes)}
            check_same(before, now, self.source.folder)
            self.load_model(model)

    def load_model(self, model: Any) -> None:
        """Give a model the weights and the past that the checkpoint has."""
        assert self.saved is not None
        model.module.load_state_dict(self.saved["weights"])
        model.module.is_fresh = self.saved["is_fresh"]
        model.is_trained_ = self.saved["is_trained"]
        history = self.saved["history"]
        model.history_ = {name: frame_of(frame) for name, frame in history.items()} or None
        model.training_seconds_ = self.saved["seconds"]

    def load_finished(self, model: Any) -> bool:
        """Give a model what came out of a training that is over; whether it is."""
        if self.saved is None or not self.saved.get("finished"):
            return False
        self.load_model(model)
        for name, cells in self.saved["indices"].items():
            setattr(model, name, cells)
        model.module.eval()
        put_generators_back(self.saved["processes"][0]["generators"])
        news.info(FINISHED, self.checkpoints.folder)
        return True


class CheckpointCallback(Callback):
    """Writes checkpoints between steps, and lets the training go on from one.

    The generators are put back at the very hook at which their states were taken, whatever was
    drawn before: by the splitter, by the order of the epoch that was interrupted.

    Parameters
    ----------
    checkpointing
        Where and how often.
    model, data
        The model, and the splitter of its cells.
    """

    def __init__(self, checkpointing: Checkpointing, model: Any, data: Any) -> None:
        self.checkpointing = checkpointing
        self.model, self.data = model, data
        self.saved = checkpointing.saved
        #: The first one shows at once whether the place can be written to.
        self.is_first = self.saved is None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the training go on from a checkpoint."""
        if self.saved is not None:
            process = self.saved["processes"][trainer.global_rank]
            load_training_state(self.saved["training"], process, trainer, pl_module, self.data)
            self.checkpointing.every.restart(trainer.global_step)
        n_epochs, n_steps = trainer.current_epoch, trainer.global_step
        folder = self.checkpointing.checkpoints.folder
        check_one_place(ranks_of(trainer).of_all((n_epochs, n_steps)), folder)
        if trainer.is_global_zero and self.saved is not None:
            news.info(GOES_ON, n_epochs, n_steps, folder)
        elif trainer.is_global_zero and self.checkpointing.may_begin:
            news.info(BEGINS, folder)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint before an epoch."""
        if not self._goes_on(trainer) and self._is_due(trainer):
            self._write(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint within an epoch, as soon as that can be."""
        if self._goes_on(trainer) or batch_idx == 0 or not self._is_due(trainer):
            return
        if can_be_interrupted(trainer, pl_module):
            self._write(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write a last checkpoint if the system wants the process to end.

        Lightning then ends the training between two steps, or two epochs. One of several
        processes writes none: the others, whose states it needs, are elsewhere.
        """
        is_asked = isinstance(exception, SIGTERMException) and trainer.world_size == 1
        if is_asked and self.saved is None:
            epochs: Any = trainer.fit_loop.epoch_progress.current
            if epochs.started == epochs.completed or can_be_interrupted(trainer, pl_module):
                self._write(trainer, pl_module)

    def _goes_on(self, trainer: Any) -> bool:
        """Put the generators back where they were, once; whether that is done now."""
        if self.saved is None:
            return False
        put_generators_back(self.saved["processes"][trainer.global_rank]["generators"])
        go_on(self.saved["training"], trainer)
        self.saved = self.checkpointing.saved = None
        return True

    def _is_due(self, trainer: Any) -> bool:
        is_due = self.is_first or self.checkpointing.every.is_due(trainer.global_step)
        # The first process decides for all, whose clocks differ.
        return ranks_of(trainer).from_first(is_due)

    def _write(self, trainer: Any, plan: Any) -> None:
        self.is_first = False
        processes = states_of_processes(trainer, plan)
        if trainer.is_global_zero:  # which alone has the history
            training = training_state(trainer, plan, self.data)
            rest = {"training": training, "processes": processes}
            self.checkpointing.write(self.model, trainer.global_step, rest)


def check_one_place(places: Sequence[tuple[int, int]], folder: Path) -> None:
    """Raise if the processes of a training would go on from different places.

    Parameters
    ----------
    places
        Epochs and updates that are done, of each process.
    folder
        Where the checkpoints are.

    Raises
    ------
    lucidvi.errors.FileError
        In all processes.
    """
    if len(set(places)) == 1:
        return
    found = ", ".join(f"process {rank} after {n} updates" for rank, (_, n) in enumerate(places))
    raise FileError(
        f"The processes of the training find different checkpoints in {folder}: {found}.",
        remedy="give a `checkpoint_dir` on a disk that all of them share.",
    )


def _whole(folder: str | PathLike[str]) -> Path:
    return Path(folder).expanduser().resolve()


#: Sets of cells of a model.
INDICES = ("train_indices", "validation_indices", "test_indices")
#: What is said of a training that begins, where it might have gone on.
BEGINS = "There is no checkpoint in %s yet: the training begins."
#: What is said of a training that goes on.
GOES_ON = "The training goes on after %d epochs and %d updates; checkpoints are in %s."
#: What is said of one that is over.
FINISHED = (
    "The training in %s is over: the model is what came out of it. To train it further, give "
    "another `checkpoint_dir`."
)
