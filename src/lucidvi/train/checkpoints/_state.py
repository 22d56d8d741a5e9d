"""All that a training is between two of its steps, as plain data, and the way back.

Lightning keeps the state of its loops, and goes on with it where one was interrupted. Its own
checkpoints begin an epoch again where it is known to stop, log an epoch that was interrupted
without its first part, and leave out what callbacks monitor; here nothing is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback
from torchmetrics import Metric

from lucidvi._random import generator_states
from lucidvi._ranks import ranks_of
from lucidvi.files import frame_of, plain_frame

#: Sets of cells that a splitter makes.
SPLITS = ("train_idx", "val_idx", "test_idx")
#: Attributes of scvi-tools' early stopping that its ``state_dict`` leaves out.
UNSAVED = ("_current_step",)


def can_be_interrupted(trainer: Any, plan: Any) -> bool:
    """Whether Lightning holds nothing between the last step and the next but its counters.

    It does in the midst of gradients that are accumulated, where cells were just validated within
    an epoch, and where it sums what a plan logs at each step.

    Parameters
    ----------
    trainer, plan
        At the start of a step that is not the first of its epoch.
    """
    n_done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    validates = trainer.enable_validation and trainer.val_check_batch not in (None, float("inf"))
    if n_done % trainer.accumulate_grad_batches or (
        validates and n_done % trainer.val_check_batch == 0
    ):
        return False
    metrics = [m for m in plan.modules() if isinstance(m, Metric)]
    metrics += trainer.fit_loop.epoch_loop._results.values()
    return not any(metric.update_called for metric in metrics)


def training_state(trainer: Any, plan: Any, data: Any) -> dict[str, Any]:
    """Return the state of a training between two steps, but for the model and its processes.

    Parameters
    ----------
    trainer, plan, data
        Lightning's trainer, the training plan and the splitter of the cells, at the start of an
        epoch or of a step.
    """
    connector = trainer._logger_connector
    return {
        "loops": loops_state(trainer),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [it.scheduler.state_dict() for it in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
        "callbacks": {it.state_key: callback_state(it) for it in trainer.callbacks},
        "metrics": dict(connector._callback_metrics),
        "shown": dict(connector._progress_bar_metrics),
        "validated": dict(trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader),
        "should_stop": bool(trainer.should_stop),
        "good_weights": plan.good_weights,
        "good_epoch": plan.good_epoch,
        "splits": {name: getattr(data, name, None) for name in SPLITS},
        "logged": {
            name: plain_frame(frame, f"history[{name!r}]")
            for name, frame in (getattr(trainer.logger, "history", None) or {}).items()
        },
    }


def loops_state(trainer: Any) -> dict[str, Any]:
    """Return the counters of Lightning's loops, as they were before the present step began."""
    loops: dict[str, Any] = copy.deepcopy(trainer.fit_loop.state_dict())
    batches = loops["epoch_loop.batch_progress"]
    for counts in (batches["total"], batches["current"]):
        counts["ready"] = counts["started"] = counts["completed"]
    batches["is_last_batch"] = False
    loops["state_dict"].pop("combined_loader", None)  # it differs between processes
    loops["n_done"] = batches["current"]["completed"]
    epochs = loops["epoch_progress"]
    if epochs["current"]["started"] == epochs["current"]["completed"]:  # the next is to begin
        loops["n_done"] = 0
        for counts in (epochs["total"], epochs["current"]):
            counts["ready"] = counts["completed"]
    return loops


def callback_state(callback: Callback) -> dict[str, Any]:
    """Return what a callback keeps."""
    unsaved = {name: vars(callback)[name] for name in UNSAVED if name in vars(callback)}
    return {"state": callback.state_dict(), "attributes": unsaved}


def load_training_state(
    state: Mapping[str, Any], process: Mapping[str, Any], trainer: Any, plan: Any, data: Any
) -> None:
    """Let a training that is about to begin go on from a state.

    Parameters
    ----------
    state, process
        What :func:`training_state` returned, and of this process :func:`process_state`.
    trainer, plan, data
        Those of the new training, with optimizers, and cells that are split.
    """
    for optimizer, of_one in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(of_one)
    for config, of_one in zip(trainer.lr_scheduler_configs, state["schedulers"], strict=True):
        config.scheduler.load_state_dict(of_one)
    trainer.precision_plugin.load_state_dict(state["precision"])
    for callback in trainer.callbacks:
        saved = state["callbacks"].get(callback.state_key)
        if saved is not None:
            callback.load_state_dict(saved["state"])
            vars(callback).update({k: v for k, v in saved["attributes"].items() if k in UNSAVED})
    trainer._logger_connector._callback_metrics.update(state["metrics"])
    trainer._logger_connector._progress_bar_metrics.update(state["shown"])
    trainer.should_stop = state["should_stop"]
    plan.good_weights, plan.good_epoch = state["good_weights"], state["good_epoch"]
    for name, cells in state["splits"].items():
        if cells is not None:
            setattr(data, name, cells)
    if state["logged"] and trainer.is_global_zero:
        frames = {name: frame_of(frame) for name, frame in state["logged"].items()}
        trainer.logger.experiment.data = frames
    plan.load_training_state(process["plan"])
    load_loops_state(state["loops"], process["orders"], trainer)


def load_loops_state(loops: Mapping[str, Any], orders: Sequence[Any], trainer: Any) -> None:
    """Let Lightning's loops go on; those within an epoch that is to begin start as ever.

    Parameters
    ----------
    loops
        What :func:`loops_state` returned.
    orders
        States of torch's generator at the beginning of the epoch, which give its order.
    trainer
        Lightning's trainer.
    """
    within = loops["n_done"]
    loops = {name: counts for name, counts in loops.items() if name != "n_done"}
    places = [{"generator": order, "n_done": within} for order in orders]
    own = {**loops["state_dict"], **({"combined_loader": places} if within else {})}
    trainer.fit_loop.load_state_dict({**loops, "state_dict": own})
    if not within:
        trainer.fit_loop.epoch_loop.restarting = False


def go_on(state: Mapping[str, Any], trainer: Any) -> None:
    """Put back what Lightning sets when a training begins, at its first epoch or step.

    Lightning leaves out of an epoch that was interrupted what follows the last step of any other.

    Parameters
    ----------
    state, trainer
        See :func:`load_training_state`.
    """
    trainer.fit_loop._restarting = False
    seen = trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader
    seen.update(state["validated"])


def process_state(trainer: Any, plan: Any) -> dict[str, Any]:
    """Return what differs between the processes of a training: draws, and what is added up."""
    places = trainer.fit_loop.state_dict()["state_dict"].get("combined_loader", [])
    return {
        "generators": generator_states(),
        "orders": [place["generator"] for place in places],
        "plan": plan.training_state(),
    }


def states_of_processes(trainer: Any, plan: Any) -> list[dict[str, Any]]:
    """Return the states of all processes of a training, by their ranks."""
    ranks, state = ranks_of(trainer), process_state(trainer, plan)
    if not ranks.are_several:
        return [state]
    # Tensors would come to the first process on the devices of the others.
    return ranks.of_all(move_data_to_device(state, torch.device("cpu")))
