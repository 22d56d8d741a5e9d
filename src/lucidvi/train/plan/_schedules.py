"""Weights and rates that change while a model trains, as functions of how far it has come.

A schedule is the same curve for a thousand cells and for ten million: what counts is the share of
the training's steps that is done, not of epochs, of which large data sets see few.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def linear_warmup(progress: float, fraction: float) -> float:
    """Rise from zero to one over the first ``fraction`` of the training.

    Parameters
    ----------
    progress
        Share of the training's steps that is done, the present one included, in ``(0, 1]``.
    fraction
        Share of the training that the rise takes; 0 is no rise at all.

    Returns
    -------
    Weight in ``[0, 1]``; exactly 1 from ``progress = fraction`` on, so always at the last step.
    """
    return 1.0 if progress >= fraction else progress / fraction


def constant(progress: float) -> float:
    """Return one."""
    return 1.0


def cosine(progress: float) -> float:
    """Fall from one to zero along half a period of a cosine."""
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def one_cycle(progress: float, rise: float = 0.1) -> float:
    """Rise from a tenth to one over the first tenth, then fall to zero along a cosine."""
    if progress < rise:
        return 0.1 + 0.9 * progress / rise
    return cosine((progress - rise) / (1 - rise))


#: The values of ``lr_schedule``: factors of the learning rate, by the share of the training done.
LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
}
