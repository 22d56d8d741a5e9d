"""What a training says: nothing but what its user has to know, unless asked for more."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from lucidvi._compat import ScviProgressBar

logger = logging.getLogger(__name__)

#: Loggers that speak of devices, of how a training ended, and of other products.
LIGHTNING = ("lightning.pytorch", "lightning.fabric")
#: Warnings about the number of minibatches, of workers, of means that are over all processes
#: already, and of Lightning about itself.
NOISE = (
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"The '\w+' does not have many workers",
    r"Found \d+ module\(s\) in eval mode at the start of training",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"It is recommended to use `self\.log\('\w+', \.\.\., sync_dist=True\)`",
    r"Checkpoint directory .* exists and is not empty",
)
#: What is worth a line where someone watches; follows ``scvi.settings.verbosity``.
news = logging.getLogger("scvi.lucidvi")


def is_asked_for_more() -> bool:
    """Whether ``scvi.settings.verbosity`` is below ``INFO``."""
    return news.getEffectiveLevel() < logging.INFO


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning from speaking of what no user of a model asked about, inside this block.

    With ``scvi.settings.verbosity = logging.DEBUG`` it says everything. A level that a user gave
    to one of Lightning's loggers holds. Levels and filters are put back.
    """
    if is_asked_for_more():
        yield
        return
    loggers = [logging.getLogger(name) for name in LIGHTNING]
    loggers = [logger for logger in loggers if logger.level == logging.INFO]  # its own choice
    with warnings.catch_warnings():
        for message in NOISE:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger in loggers:
                logger.setLevel(logging.INFO)


class TrainingBar(ScviProgressBar):
    """Progress bar of scvi-tools, without a version number, closed however a training ends."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the epoch from which the training goes on."""
        super().on_train_start(trainer, pl_module)
        if self.is_enabled:
            self.main_progress_bar.update(trainer.current_epoch)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what is shown besides the epochs."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Close the bar, so that what is said next has a line of its own."""
        bar = getattr(self, "main_progress_bar", None)
        if bar is not None:
            bar.close()


def replace_bar(trainer: Any) -> None:
    """Give a trainer :class:`TrainingBar` in the place of scvi-tools' bar."""
    for i, callback in enumerate(trainer.callbacks):
        if type(callback) is ScviProgressBar:
            bar = TrainingBar(callback.refresh_rate)
            if callback.is_disabled or not trainer.is_global_zero:
                bar.disable()
            trainer.callbacks[i] = bar


def speak_once(trainer: Any) -> None:
    """Let the first of several processes alone say why a training stopped early."""
    callback = trainer.early_stopping_callback
    if callback is not None and not trainer.is_global_zero:
        callback.teardown = lambda *_, **__: None


def say_which(max_epochs: int, usual: int, lr: float) -> None:
    """Say in one line that ``"lucid"`` holds, if a script asks for more epochs than it needs.

    Parameters
    ----------
    max_epochs
        Epochs that were asked for.
    usual
        Epochs that it takes by itself.
    lr
        Learning rate.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        return
    # Of scvi-tools' levels this is news, of Python's a warning: these are seen without a handler.
    if max_epochs > usual and news.isEnabledFor(logging.INFO):
        logger.warning(SAID.format(max_epochs, usual, lr))


#: In one line, with the way to scvi-tools' own training.
SAID = (
    "model.train(max_epochs={}) trains by preset='lucid', which needs {} epochs for these cells, "
    "at a learning rate of up to {:g}; scvi-tools' is preset='scvi', at 0.001."
)
