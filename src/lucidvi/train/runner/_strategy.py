"""How Lightning starts the processes of a training, and leaves their gradients to the plan."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor

import __main__
from lucidvi._random import isolated
from lucidvi.data import CellSplitter
from lucidvi.errors import DataError


class TogetherStrategy(DDPStrategy):
    """Strategy of Lightning that starts processes, whose gradients the plan adds up.

    torch's wrapper of a module, by which Lightning does so, asks for a gradient of every weight in
    every minibatch, which not every likelihood gives, and for one minibatch a step.
    """

    _adds_up = True

    def setup_distributed(self) -> None:
        """Let the processes find each other; Lightning would start from the seed again."""
        with isolated():
            super().setup_distributed()

    def configure_ddp(self) -> None:
        """Leave the module as it is."""

    def post_backward(self, closure_loss: Tensor) -> None:
        """Add up the gradients of a step that Lightning does."""
        plan: Any = self.lightning_module
        if self._adds_up and plan.automatic_optimization:
            plan.add_up_gradients()

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Leave the gradients to the last of several minibatches that are added up."""
        self._adds_up = False
        try:
            yield
        finally:
            self._adds_up = True


#: Strategies of Lightning by the names that a user gives, and under which it finds ours.
#: Those of scvi-tools switch early stopping off by their name.
NAMES = {
    "ddp": "lucidvi",
    "ddp_find_unused_parameters_true": "lucidvi",
    "ddp_find_unused_parameters_false": "lucidvi",
}
if "lucidvi" not in StrategyRegistry:
    StrategyRegistry.register("lucidvi", TogetherStrategy, "Processes that train as one.")

#: What is a script, and what starts it.
SCRIPT = (
    'put the training into a script, `model.train(devices=2, strategy="ddp")`, and run it by '
    "`python script.py`"
)


def with_own_strategy(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a runner, with the strategy by which processes train as one.

    Parameters
    ----------
    arguments
        Of :class:`scvi.train.TrainRunner`, by name.
    """
    config = dict(arguments.get("trainer_config") or {})
    strategy = config.pop("strategy", None)
    strategy = arguments.get("strategy", strategy)
    if strategy is None:
        return arguments
    own = own_strategy(strategy) if _are_several(arguments, config) else "auto"
    further = {"trainer_config": config, "strategy": own}
    if isinstance(arguments.get("data_splitter"), CellSplitter):
        # Cells are shared out by the loaders themselves.
        further["use_distributed_sampler"] = False
    return {**arguments, **further}


def _are_several(arguments: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether there will be more than one process; scvi-tools takes "auto" for one device."""
    devices = arguments.get("devices", "auto")
    n_nodes = arguments.get("num_nodes", config.get("num_nodes", 1))
    is_one = devices in (1, "1", "auto") or (isinstance(devices, list) and len(devices) == 1)
    return n_nodes > 1 or not is_one


def own_strategy(strategy: Any) -> Any:
    """Return the name under which Lightning finds the strategy that is asked for.

    Parameters
    ----------
    strategy
        Argument of a trainer.

    Raises
    ------
    lucidvi.errors.DataError
        If it starts processes in a way by which a model does not come back, or there is no
        script for further processes to run.
    """
    name = NAMES.get(strategy) if isinstance(strategy, str) else None
    if name is not None:
        _check_script(strategy)
        return name
    if isinstance(strategy, DDPStrategy) or (isinstance(strategy, str) and "ddp" in strategy):
        shown = repr(strategy) if isinstance(strategy, str) else f"a {type(strategy).__name__}"
        raise DataError(
            f"`strategy` is {shown}; the processes of a training of LucidVI are started by "
            '"ddp", after which each of them has the trained model.',
            remedy=f"{SCRIPT}.",
        )
    return strategy


def _check_script(strategy: str) -> None:
    """Raise where the other processes have no script to run; those that run one are told so."""
    is_script = __main__.__spec__ is not None or os.path.exists(sys.argv[0])
    is_interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive)
    if "LOCAL_RANK" in os.environ or (is_script and not is_interactive):
        return
    raise DataError(
        f"`strategy` is {strategy!r}, by which each device gets a process of its own that runs "
        "the same script, and a notebook or an interactive session is none.",
        remedy=f"{SCRIPT}; or train on one device here, model.train(devices=1).",
    )


def check_processes(trainer: Any, plan: Any) -> None:
    """Raise if several devices are used in a way that does not train as one process does.

    Raises
    ------
    lucidvi.errors.DataError
        With the strategy that does; or if the plan is not one that adds gradients up.
    """
    if trainer.world_size == 1:
        return
    if not hasattr(plan, "add_up_gradients"):
        raise DataError(
            f"The training plan is a {type(plan).__name__}, by which several processes do not "
            "train as one.",
            remedy="derive it from lucidvi.train.TrainingPlan, or train on one device, "
            "model.train(devices=1).",
        )
    if isinstance(trainer.strategy, TogetherStrategy):
        return
    raise DataError(
        f"`devices` and `num_nodes` make {trainer.world_size} processes, and the strategy is a "
        f"{type(trainer.strategy).__name__}.",
        remedy=f'give `strategy="ddp"` besides: {SCRIPT}.',
    )
