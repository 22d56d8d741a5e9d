"""How far paths bend, by how well that predicts times that are left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucidvi._progress import track
from lucidvi.dynamics._energy import energy_distance
from lucidvi.dynamics.paths._couplings import couple
from lucidvi.dynamics.paths._paths import between

Array = NDArray[np.float64]
#: What is chosen from, and what is taken of three times, where nothing tells: none of them has one
#: beyond its neighbours when the middle one is left out.
BENDINGS, BENDING = (0.0, 0.25, 0.5, 0.75, 1.0), 0.5
#: Most states that are compared.
MOST_STATES = 500


class LeftOut(NamedTuple):
    """How far paths bend, and how well each time is predicted from the others.

    Parameters
    ----------
    bending
        See :func:`lucidvi.dynamics.fit_flow`.
    unpredicted
        Energy distance of each inner time to what is predicted of it when it is left out, over
        that to the sample that is nearer, shape ``(n_times,)``; NaN of the first and the last, and
        of those that are not told apart from that sample.
    """

    bending: float
    unpredicted: Array


def leave_out(
    ot: Any,
    times: Array,
    states: Sequence[Array],
    masses: Array,
    relaxation: float | None,
    bending: float | None,
    apart: NDArray[np.bool_],
    rng: np.random.Generator,
) -> LeftOut:
    """Leave each inner time out, and predict it by paths between the others.

    Parameters
    ----------
    ot, times, masses, relaxation
        See :func:`lucidvi.dynamics.paths._paths.paths_between`.
    states
        States of the cells of each time, each of shape ``(n_cells, n_latent)``.
    bending
        How far paths bend; None for what predicts best.
    apart
        Whether the samples of consecutive times are told apart, shape ``(n_times - 1,)``. A time
        that is not, from the nearer sample, has nothing to be predicted, and does not count.
    rng
        Generator of the draws.
    """
    bendings = BENDINGS if bending is None else (bending,)
    n, couplings = len(times), {}

    def coupled(k: int, j: int) -> Any:
        if (k, j) not in couplings:
            pair = masses[k], masses[j]
            couplings[k, j] = couple(ot, states[k], states[j], pair, relaxation)
        return couplings[k, j]

    scores = np.full((len(bendings), n), np.nan)
    for k in track(range(1, n - 1), "Leaving times out", slow_steps=True):
        nearer = min((k - 1, k + 1), key=lambda i: abs(times[i] - times[k]))
        if not apart[min(k, nearer)]:
            continue
        near = [i for i in (k - 2, k - 1, k + 1, k + 2) if 0 <= i < n]
        own = [coupled(i, j) for i, j in pairwise(near)]
        place = near.index(k - 1)
        parts = [states[i] for i in near]
        truth = _some(states[k], rng)
        stay = _some(states[nearer], rng)
        far = energy_distance(stay, np.ones(len(stay)), truth)
        for b, one in enumerate(bendings):
            paths = between(times[near], parts, own, place, one, rng)
            pairs = rng.integers(paths.first.shape[1], size=MOST_STATES)
            at = np.zeros(MOST_STATES, int), pairs, np.full(MOST_STATES, times[k])
            points = paths.at(*at)
            mass = np.exp(points.log_mass - points.log_mass.max())
            missed = energy_distance(points.z, mass, truth)
            scores[b, k] = missed / far if far > 0 else np.nan
    if bending is None and (n < 4 or np.isnan(scores).all()):
        chosen = bendings.index(BENDING)
    else:
        chosen = int(np.nansum(scores, axis=1).argmin())
    return LeftOut(bendings[chosen], scores[chosen])


def _some(states: Array, rng: np.random.Generator) -> Array:
    if len(states) <= MOST_STATES:
        return states
    return states[rng.choice(len(states), MOST_STATES, replace=False)]
