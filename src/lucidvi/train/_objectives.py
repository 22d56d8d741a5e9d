"""The objectives by name."""

from __future__ import annotations

from lucidvi.train._importance_weighted import ImportanceWeighted
from lucidvi.train._objective import ELBO, Objective
from lucidvi.train._semi_amortized import SemiAmortized

#: The values of ``objective``.
OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": ELBO,
    "iwae": ImportanceWeighted,
    "semi_amortized": SemiAmortized,
}


def as_objective(objective: str | Objective, refine_steps: int = 0) -> Objective:
    """Return what a training maximizes.

    Parameters
    ----------
    objective
        One of :data:`OBJECTIVES`, by name or with settings of its own.
    refine_steps
        Steps of a semi-amortized training; zero for none.

    Raises
    ------
    ValueError
        If the objective does not exist, or is another one than the steps ask for.
    """
    if not isinstance(objective, Objective):
        if objective not in OBJECTIVES:
            choices = ", ".join(map(repr, OBJECTIVES))
            raise ValueError(
                f"`objective` is {objective!r}; it must be one of {choices}, or an `Objective`."
            )
        objective = OBJECTIVES[objective]()
    if refine_steps == 0:
        return objective
    if not isinstance(objective, (ELBO, SemiAmortized)):
        raise ValueError(
            f"`refine_steps` is {refine_steps}, which needs the semi-amortized objective, but "
            f"`objective` is {objective!r}: leave one of the two out."
        )
    return SemiAmortized(n_steps=refine_steps)
