"""Paths along which cells go from one time to the next, and what a field is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucidvi._brief import brief
from lucidvi.dynamics.paths._couplings import Coupling, couple

Array = NDArray[np.float64]
#: Pairs of cells that are drawn between two times, and of all times together.
N_PAIRS, MOST_PAIRS = 20_000, 100_000
#: Most that a path is faster at an end than on the whole: what keeps a cubic from turning back
#: (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980).
MOST_BENDING = 3.0


class Points(NamedTuple):
    r"""Points on paths: what passes where, when, how fast, and how it grows.

    Parameters
    ----------
    z, velocity
        Where, and :math:`dz/dt`, shape ``(n_points, n_latent)``.
    t, growth, log_mass
        When, :math:`d\\log m/dt`, and :math:`\\log m`, shape ``(n_points,)``.
    """

    z: Array
    velocity: Array
    t: Array
    growth: Array
    log_mass: Array


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths of pairs of cells between each two consecutive times.

    A path is a cubic through both cells, with the velocities that it has there: those of the
    parabola through the cell, the one it goes to and the mean of where it comes from (or the
    other way round). So a path bends where the times before and after say that it does. The log
    of its mass is one more coordinate.

    Parameters
    ----------
    times
        Shape ``(n_times,)``.
    first, second
        States and log masses where the paths of each interval start and end,
        shape ``(n_intervals, n_pairs, n_latent + 1)``.
    start, end
        What they change by per unit of time there, of the same shape.
    """

    times: Array
    first: Array
    second: Array
    start: Array
    end: Array

    __repr__ = brief

    def draw(self, n_points: int, rng: np.random.Generator) -> Points:
        """Draw points of all paths, evenly over time.

        Parameters
        ----------
        n_points
            How many.
        rng
            Generator of the draws.
        """
        span = self.times[-1] - self.times[0]
        t = self.times[0] + span * (rng.permutation(n_points) + rng.random(n_points)) / n_points
        k = np.clip(np.searchsorted(self.times, t, side="right") - 1, 0, len(self.times) - 2)
        pair = rng.integers(self.first.shape[1], size=n_points)
        return self.at(k, pair, t)

    def at(self, k: NDArray[np.integer], pair: NDArray[np.integer], t: Array) -> Points:
        """Return points of some paths.

        Parameters
        ----------
        k, pair
            Interval of each, and which of its paths, shape ``(n_points,)``.
        t
            When, within the interval, shape ``(n_points,)``.
        """
        h = (self.times[k + 1] - self.times[k])[:, None]
        s = (t - self.times[k])[:, None] / h
        x, y = self.first[k, pair], self.second[k, pair]
        u, v = h * self.start[k, pair], h * self.end[k, pair]
        # The cubic of Hermite, from x and u at s = 0 to y and v at s = 1.
        bend = 2 * (x - y) + u + v
        turn = 3 * (y - x) - 2 * u - v
        here = x + s * (u + s * (turn + s * bend))
        change = (u + s * (2 * turn + s * 3 * bend)) / h
        return Points(here[:, :-1], change[:, :-1], t, change[:, -1], here[:, -1])


def paths_between(
    ot: Any,
    times: Array,
    means: Sequence[Array],
    states: Sequence[Array],
    masses: Array,
    relaxation: float | None,
    bending: float,
    rng: np.random.Generator,
) -> Paths:
    """Couple the samples of consecutive times, and draw paths between them.

    Cells are coupled by the means of their posteriors: the noise of draws would add to every
    distance, so that cells grow at a higher price, and go to others as easily as to their like.

    Parameters
    ----------
    ot
        See :func:`lucidvi._transport.pot`.
    times, masses
        See :class:`lucidvi.dynamics._samples.Samples`.
    means, states
        See :class:`lucidvi.dynamics._samples.Draw`.
    relaxation
        See :func:`lucidvi.dynamics.paths._couplings.couple`.
    bending
        1 for the velocities of the parabolas, 0 for straight paths.
    rng
        Generator of the draws.
    """
    couplings = [
        couple(ot, means[k], means[k + 1], (masses[k], masses[k + 1]), relaxation)
        for k in range(len(times) - 1)
    ]
    parts = [_interval(times, states, couplings, k, bending, rng) for k in range(len(couplings))]
    return Paths(times, *map(np.stack, zip(*parts, strict=True)))


def between(
    times: Array,
    states: Sequence[Array],
    couplings: Sequence[Coupling],
    k: int,
    bending: float,
    rng: np.random.Generator,
) -> Paths:
    """Draw the paths of one interval.

    Parameters
    ----------
    times, states, bending, rng
        See :func:`paths_between`.
    couplings
        Of consecutive times.
    k
        Which interval.
    """
    part = _interval(times, states, couplings, k, bending, rng)
    return Paths(times[k : k + 2], *(values[None] for values in part))


def _interval(
    times: Array,
    states: Sequence[Array],
    couplings: Sequence[Coupling],
    k: int,
    bending: float,
    rng: np.random.Generator,
) -> tuple[Array, ...]:
    """Draw the paths of one interval."""
    coupling = couplings[k]
    i, j = coupling.draw(min(N_PAIRS, MOST_PAIRS // len(couplings)), rng)
    x = _joined(states[k][i], coupling.log_start[i])
    y = _joined(states[k + 1][j], coupling.log_end[j])
    chord = (y - x) / (times[k + 1] - times[k])
    start = end = None
    if k > 0:
        last = couplings[k - 1]
        came = _joined(last.backward(states[k - 1])[i], x[:, -1] - last.growth()[1][i])
        start = tangent(times[k - 1 : k + 2], came, x, y)
    if k + 2 < len(times):
        following = couplings[k + 1]
        goes = _joined(following.forward(states[k + 2])[j], y[:, -1] + following.growth()[0][j])
        end = tangent(times[k : k + 3], x, y, goes)
    # At the ends of the time course a path is straight, as a natural spline is.
    if start is None:
        start = chord if end is None else 1.5 * chord - 0.5 * end
    if end is None:
        end = 1.5 * chord - 0.5 * start
    return x, y, *(_limited(chord + bending * (one - chord), chord) for one in (start, end))


def _limited(change: Array, chord: Array) -> Array:
    """Limit velocities and growths, so that no path swings out for what is noise.

    Between times that are close, noise looks like speed, and would be followed through a long
    interval beside.
    """
    limited = []
    for part in (slice(None, -1), slice(-1, None)):
        size, most = (np.linalg.norm(one[:, part], axis=1) for one in (change, chord))
        share = np.minimum(1, MOST_BENDING * most / np.maximum(size, 1e-300))
        limited.append(change[:, part] * share[:, None])
    return np.concatenate(limited, axis=1)


def _joined(states: Array, log_mass: Array) -> Array:
    return np.column_stack([states, log_mass])


def tangent(times: Array, before: Array, here: Array, after: Array) -> Array:
    """Return the velocity in the middle of the parabola through three points.

    Parameters
    ----------
    times
        Of the three points.
    before, here, after
        The points, shape ``(n, n_latent)``.
    """
    left, right = np.diff(times)
    return (left * (after - here) / right + right * (here - before) / left) / (left + right)
