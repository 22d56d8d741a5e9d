"""Optimal transport between two samples, by POT, with a plan that is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucidvi.errors import DataError, MissingPackageError, TrainingError

Points = NDArray[np.floating]
Potentials = tuple[NDArray[np.float64], NDArray[np.float64]]
#: Pivots of the exact solver, and rounds of the entropic one.
MOST_PIVOTS, MOST_ROUNDS = 10**7, 10_000
#: Largest change of a round at which the entropic solver ends, each in turn until the plan misses
#: no more than it may: changes of small potentials seem smaller to it than they are.
TOLERANCES, MISSED = (1e-6, 1e-9, 1e-12), 1e-2
#: Largest cost, in units of the entropy: beyond, its exponential is none, and cells that far from
#: all others are outliers that should not tell where the rest goes.
MOST_EXPONENT = 500


def pot(asked_by: str, extra: str, otherwise: str = "") -> Any:
    """Return POT, or raise what to install.

    Parameters
    ----------
    asked_by
        What needs it, such as ``"`fit_flow`"``.
    extra
        The extra of LucidVI that brings it.
    otherwise
        What to do without it.
    """
    try:
        import ot
    except ImportError as error:
        raise MissingPackageError(
            f"{asked_by} needs the package POT ({error}).",
            remedy=f'pip install "lucidvi[{extra}]"{otherwise}.',
        ) from error
    return ot


def squared_distances(ot: Any, first: Points, second: Points) -> NDArray[np.float64]:
    """Return the squared distances between two samples.

    Parameters
    ----------
    ot
        See :func:`pot`.
    first, second
        Points, of shapes ``(n_first, n_dimensions)`` and ``(n_second, n_dimensions)``.

    Returns
    -------
    Shape ``(n_first, n_second)``.

    Raises
    ------
    lucidvi.errors.DataError
        If a point is not finite, of which a plan would be empty rows.
    """
    for points in (first, second):
        bad = ~np.isfinite(points).all(axis=1)
        if bad.any():
            raise DataError(
                f"{bad.sum():,} of {len(points):,} states are not finite, {bad.argmax()} first.",
                remedy="leave these cells out, or train anew.",
            )
    return ot.dist(np.asarray(first, np.float64), np.asarray(second, np.float64))


def exact_plan(ot: Any, cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the plan of least cost between two samples of equal weights.

    Parameters
    ----------
    ot
        See :func:`pot`.
    cost
        Shape ``(n_first, n_second)``.

    Raises
    ------
    lucidvi.errors.TrainingError
        If the solver stopped before it had found one: what it returns then is no coupling.
    """
    n_first, n_second = cost.shape
    plan = ot.emd(ot.unif(n_first), ot.unif(n_second), cost, numItermax=MOST_PIVOTS)
    missed = np.abs(plan.sum(axis=1) * n_first - 1).max()
    if not missed <= MISSED:
        raise TrainingError(
            f"The transport between {n_first:,} and {n_second:,} states was not found in "
            f"{MOST_PIVOTS:,} steps.",
            remedy="give fewer cells.",
        )
    return plan


def unbalanced_plan(
    ot: Any,
    cost: NDArray[np.float64],
    masses: tuple[float, float],
    relaxation: float,
    entropy: float,
    start: Potentials | None = None,
) -> tuple[NDArray[np.float64], Potentials]:
    r"""Return the plan between two samples of different mass.

    .. math::
        \min_\pi \langle C, \pi \rangle
            + \tau \, \mathrm{KL}(\pi 1 \,|\, a) + \tau \, \mathrm{KL}(\pi^\top 1 \,|\, b)
            + \epsilon \, \mathrm{KL}(\pi \,|\, a b^\top)

    Parameters
    ----------
    ot
        See :func:`pot`.
    cost
        :math:`C`, in units of its mean, shape ``(n_first, n_second)``.
    masses
        Masses of the two samples, which each shares out equally.
    relaxation, entropy
        :math:`\tau` and :math:`\epsilon`.
    start
        Potentials of a plan of similar cost, from which it is found sooner.

    Returns
    -------
    The plan, and its potentials.

    Raises
    ------
    lucidvi.errors.TrainingError
        If the solver returns what is no plan.

    References
    ----------
    Séjourné et al., AISTATS 2022, Faster unbalanced optimal transport.
    """
    a, b = (np.full(n, mass / n) for n, mass in zip(cost.shape, masses, strict=True))
    for tolerance in TOLERANCES:
        plan, found = ot.unbalanced.sinkhorn_unbalanced(
            a,
            b,
            np.minimum(cost, MOST_EXPONENT * entropy),
            entropy,
            relaxation,
            method="sinkhorn_translation_invariant",
            numItermax=MOST_ROUNDS,
            stopThr=tolerance,
            warmstart=start,
            log=True,
        )
        start = found["logu"], found["logv"]
        # At the optimum each marginal follows from its potential; stopped early, or at the end of
        # what floats can hold, the solver returns what it has.
        marginals = plan.sum(axis=1), plan.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):  # of a cell without mass
            missed = [
                np.abs(np.log(marginal / mass) + entropy / relaxation * potential).max()
                for marginal, mass, potential in zip(marginals, (a, b), start, strict=True)
            ]
        if max(missed) <= MISSED:
            return plan, start
    raise TrainingError(
        f"The unbalanced transport between {cost.shape[0]:,} and {cost.shape[1]:,} states was not "
        f"found in {len(TOLERANCES) * MOST_ROUNDS:,} rounds.",
        remedy="leave out cells that are far from all others, or `growth=False`.",
    )
