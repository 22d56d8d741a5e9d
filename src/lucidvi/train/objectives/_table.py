"""The objectives by name."""

from __future__ import annotations

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.train.objectives._free_bits import FreeBits
from lucidvi.train.objectives._importance_weighted import ImportanceWeighted
from lucidvi.train.objectives._objective import ELBO, Objective
from lucidvi.train.objectives._semi_amortized import SemiAmortized

#: The values of ``objective``.
OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": ELBO,
    "free_bits": FreeBits,
    "iwae": ImportanceWeighted,
    "semi_amortized": SemiAmortized,
}


def as_objective(
    objective: str | Objective, refine_steps: int = 0, free_bits: float = 0.0
) -> Objective:
    """Return what a training maximizes.

    Parameters
    ----------
    objective
        One of :data:`OBJECTIVES`, by name or with settings of its own.
    refine_steps
        Steps of a semi-amortized training; zero for none.
    free_bits
        Floor of the KL of a dimension, nats; zero for none.

    Raises
    ------
    lucidvi.errors.DataError
        If the objective does not exist, or is another one than the steps or the floor ask for.
    """
    if not isinstance(objective, Objective):
        check_choice("objective", objective, OBJECTIVES, "an `Objective`")
        objective = OBJECTIVES[objective]()
    short = {
        "refine_steps": (refine_steps, "semi-amortized", SemiAmortized),
        "free_bits": (free_bits, "free-bits", FreeBits),
    }
    for name, (value, kind, made) in short.items():
        if value == 0:
            continue
        if not isinstance(objective, (ELBO, made)):
            raise DataError(
                f"`{name}` is {value}, which needs the {kind} objective, but `objective` is "
                f"{objective!r}: leave one of the two out.",
                remedy=f'model.train(plan_kwargs={{"{name}": {value}}})',
            )
        objective = made(value)  # type: ignore[arg-type]
    return objective
