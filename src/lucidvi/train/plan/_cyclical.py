"""The weight of the KL term in cycles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.train.plan._schedules import linear_warmup


@dataclass(frozen=True)
class Cyclical:
    r"""Cycles, in each of which the weight rises from zero and is then held.

    At the share :math:`t` of the training, in cycle :math:`i = \lceil n t \rceil` of :math:`n`,
    the weight is

    .. math:: \min\left(1, \frac{n t - i + 1}{r}\right)

    with the share :math:`r` of a cycle that the rise takes. The last step is the end of a cycle,
    so that its weight is one.

    Parameters
    ----------
    n_cycles
        Number of cycles; one cycle is the linear warm-up.

    References
    ----------
    Fu et al., NAACL (2019), Cyclical annealing schedule: a simple approach to mitigating KL
    vanishing.
    """

    n_cycles: int = 4

    def __post_init__(self) -> None:
        """Check the number of cycles."""
        if self.n_cycles < 1:
            raise DataError(
                f"`n_cycles` of the KL schedule is {self.n_cycles}; at least 1.",
                remedy='plan_kwargs={"kl_schedule": lucidvi.train.Cyclical(n_cycles=4)}',
            )

    def __call__(self, progress: float, fraction: float) -> float:
        """Return the weight in ``[0, 1]``.

        Parameters
        ----------
        progress
            Share of the training's steps that is done, the present one included, in ``(0, 1]``.
        fraction
            Share of each cycle that the rise takes.
        """
        position = min(progress, 1.0) * self.n_cycles
        # Shares are quotients of steps: one that ends a cycle may come out just above it.
        cycle = math.ceil(position - 1e-9)
        return linear_warmup(position - cycle + 1, fraction)


#: The values of ``kl_schedule``: weights by the share of the training done, and the share of it,
#: or of a cycle, that a rise takes.
KL_SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": linear_warmup,
    "cyclical": Cyclical(),
}


def as_kl_schedule(
    schedule: str | Callable[[float, float], float],
) -> Callable[[float, float], float]:
    """Return a schedule of :data:`KL_SCHEDULES` by name, or the function itself.

    Raises
    ------
    lucidvi.errors.DataError
        If there is none of this name.
    """
    if callable(schedule):
        return schedule
    check_choice("kl_schedule", schedule, KL_SCHEDULES, "a `Cyclical`")
    return KL_SCHEDULES[schedule]
