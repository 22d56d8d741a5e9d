"""Whether options of a training plan exist, have values that make sense, and go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.train.plan._optimizers import OPTIMIZERS
from lucidvi.train.plan._schedules import LR_SCHEDULES

#: Arguments of scvi-tools that say how the weight of the KL term rises.
OF_SCVI_SCHEDULE = {"n_epochs_kl_warmup", "n_steps_kl_warmup"}


def check_options(
    kl_warmup: float,
    betas: Sequence[float],
    lr_schedule: str,
    minibatches_per_step: int,
) -> None:
    """Raise :class:`DataError` for a value that an option of the plan cannot have."""
    check_choice("lr_schedule", lr_schedule, LR_SCHEDULES)
    if not 0 <= kl_warmup <= 1:
        raise DataError(
            f"`kl_warmup` is {kl_warmup}; it is a share of the training, between 0 and 1.",
            remedy='model.train(plan_kwargs={"kl_warmup": 0.3}), or scvi-tools\' '
            '"n_epochs_kl_warmup" for a number of epochs.',
        )
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise DataError(
            f"`betas` is {betas}; it is two numbers, each at least 0 and below 1.",
            remedy='model.train(plan_kwargs={"betas": (0.9, 0.999)})',
        )
    if minibatches_per_step < 1:
        raise DataError(
            f"`minibatches_per_step` is {minibatches_per_step}; at least 1.",
            remedy='model.train(plan_kwargs={"minibatches_per_step": 1})',
        )


#: Numbers of scvi-tools' plan: which values they have, and how to say so.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda value: value >= 0, "at least 0"),
    "weight_decay": (lambda value: value >= 0, "at least 0"),
    "eps": (lambda value: value > 0, "above 0"),
    "max_kl_weight": (lambda value: value >= 0, "at least 0"),
    "min_kl_weight": (lambda value: value >= 0, "at least 0"),
    "lr_factor": (lambda value: 0 < value < 1, "between 0 and 1"),
    "lr_patience": (lambda value: value >= 0, "at least 0"),
}


def check_of_scvi_tools(options: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` for an option of scvi-tools' plan that it, or torch, refuses."""
    check_choice("optimizer", options.get("optimizer", "Adam"), (*OPTIMIZERS, "Custom"))
    for name, (holds, what) in _RANGES.items():
        if name in options and not holds(options[name]):
            raise DataError(
                f"`{name}` is {options[name]}; it is {what}.",
                remedy=f"model.train() without it, or with another `{name}` in `plan_kwargs`.",
            )
    least, most = options.get("min_kl_weight", 0.0), options.get("max_kl_weight", 1.0)
    if least > most:
        raise DataError(
            f"`min_kl_weight` is {least}, more than `max_kl_weight`, {most}.",
            remedy=f"model.train(plan_kwargs={{'min_kl_weight': {most}}})",
        )


def check_one_schedule(kl_schedule: Any, others: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` if scvi-tools' schedule of the KL term is given besides ours."""
    theirs = OF_SCVI_SCHEDULE & set(others)
    if theirs and kl_schedule != "linear":
        raise DataError(
            f"`kl_schedule` is {kl_schedule!r}, which is a share of the training, but "
            f"`{min(theirs)}` is given too: leave one of the two out.",
            remedy=f"model.train(plan_kwargs={{'kl_schedule': {kl_schedule!r}}})",
        )
