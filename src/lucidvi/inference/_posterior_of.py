"""The posteriors that functions offer as a choice: the encoder's, or each cell's refined one."""

from __future__ import annotations

from collections.abc import Callable

from torch.distributions import Distribution

from lucidvi.checks import check_choice
from lucidvi.inference._refine import refine
from lucidvi.inference._target import Target


def _encoder(target: Target, family: str) -> Distribution:
    return target.q0


def _refined(target: Target, family: str) -> Distribution:
    return refine(target, family).posterior.distribution  # type: ignore[arg-type]


#: The values of every argument ``posterior``.
POSTERIORS: dict[str, Callable[[Target, str], Distribution]] = {
    "encoder": _encoder,
    "refined": _refined,
}


def posterior_of(target: Target, posterior: str, family: str = "full") -> Distribution:
    """Return the posterior of the states of a target's cells.

    Parameters
    ----------
    target
        The cells.
    posterior
        ``"encoder"`` for the encoder's answer, ``"refined"`` for each cell's own normal, see
        :func:`refine`.
    family
        Covariance of the refined posteriors, ``"diagonal"`` or ``"full"``; the encoder's are of
        the family that it was trained with.

    Returns
    -------
    Distribution of batch shape ``(n_cells,)`` and event shape ``(n_state,)``.

    Raises
    ------
    lucidvi.errors.DataError
        If there is no such posterior or family.
    """
    check_choice("posterior", posterior, POSTERIORS)
    return POSTERIORS[posterior](target, family)
