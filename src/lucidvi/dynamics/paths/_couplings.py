"""Which cells of one time become which of the next, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from lucidvi._brief import brief
from lucidvi._transport import exact_plan, squared_distances, unbalanced_plan

#: What entropy costs, in units of the mean cost: little enough that a cell goes to cells of its
#: own kind, enough that the plan of two samples is one of what they are samples of.
ENTROPY = 0.01
#: How often it is planned, and the share of a sample that a cell goes together with.
N_ROUNDS, NEIGHBOURS = 5, 0.1
#: Most that a cell may grow or shrink by beside the others of its sample, in nats: a factor of 50.
MOST_GROWTH = 4.0


@dataclass(frozen=True, eq=False)
class Coupling:
    r"""A plan between two samples, and the mass at both ends of it.

    What is planned from cell :math:`i` to cell :math:`j` starts as :math:`\pi_{ij} a_i / r_i` and
    ends as :math:`\pi_{ij} b_j / c_j`, where :math:`r` and :math:`c` are the marginals of the
    plan and :math:`a` and :math:`b` those of the samples; so both samples are met.

    Parameters
    ----------
    plan
        :math:`\pi`, shape ``(n_first, n_second)``.
    log_start, log_end
        :math:`\log(a / r)` and :math:`\log(b / c)`, of shapes ``(n_first,)`` and
        ``(n_second,)``.
    """

    plan: NDArray[np.float64]
    log_start: NDArray[np.float64]
    log_end: NDArray[np.float64]

    __repr__ = brief

    def forward(self, second: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where each cell of the first sample goes, on average."""
        return self.plan @ second / self.plan.sum(axis=1, keepdims=True)

    def backward(self, first: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where each cell of the second sample comes from, on average."""
        return self.plan.T @ first / self.plan.sum(axis=0)[:, None]

    def growth(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how each cell grows, on average, in nats.

        Returns
        -------
        What becomes of each cell of the first sample, and how that which each cell of the second
        came from has grown, of shapes ``(n_first,)`` and ``(n_second,)``.
        """
        forward = np.log(self.plan @ np.exp(self.log_end) / self.plan.sum(axis=1)) - self.log_start
        backward = self.log_end - np.log(
            self.plan.T @ np.exp(self.log_start) / self.plan.sum(axis=0)
        )
        return forward, backward

    def draw(
        self, n_pairs: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Draw pairs from the plan.

        Parameters
        ----------
        n_pairs
            How many.
        rng
            Generator of the draws.

        Returns
        -------
        Positions in the first and in the second sample.
        """
        total = np.cumsum(self.plan)
        at = np.searchsorted(
            total, (np.arange(n_pairs) + rng.random(n_pairs)) * total[-1] / n_pairs
        )
        first, second = np.unravel_index(np.minimum(at, self.plan.size - 1), self.plan.shape)
        return first, second


def couple(
    ot: Any,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    masses: tuple[float, float],
    relaxation: float | None,
) -> Coupling:
    r"""Plan how one sample becomes the next, at the least cost.

    The cost is the squared distance, in units of its mean, so that nothing depends on the scale
    of the states. Where cells grow, planning by distance alone lets those grow that have least
    far to go, and not those that become more: the front of a group that moves. So the plan is
    made again, with the distance from where each cell's neighbours go on average:

    .. math::
        C_{ij} \propto \lVert x_i + \bar d_i - y_j \rVert^2, \qquad
        \bar d_i = \frac{\sum_{k \in N(i)} m_k d_k}{\sum_{k \in N(i)} m_k}

    with the displacement :math:`d` and the mass :math:`m` of each cell by the plan before.

    Parameters
    ----------
    ot
        See :func:`lucidvi._transport.pot`.
    first, second
        States, of shapes ``(n_first, n_latent)`` and ``(n_second, n_latent)``.
    masses
        Masses of the samples.
    relaxation
        What it costs to let a cell grow or shrink, in units of the mean cost; None for no growth:
        each cell of the first sample then becomes as much as any other.
    """
    cost = squared_distances(ot, first, second)
    unit = cost.mean() or 1.0
    if relaxation is None:
        plan = exact_plan(ot, cost / unit)
        return Coupling(plan, np.zeros(len(first)), np.zeros(len(second)))
    n_near = max(2, round(NEIGHBOURS * len(first)))
    near = NearestNeighbors(n_neighbors=n_near).fit(first).kneighbors(return_distance=False)
    found = None
    for _ in range(N_ROUNDS):
        plan, found = unbalanced_plan(ot, cost / unit, masses, relaxation, ENTROPY, found)
        coupling = _with_mass(plan, masses)
        mass = (plan * np.exp(coupling.log_end)).sum(axis=1)
        displaced = mass[:, None] * (coupling.forward(second) - first)
        together = displaced[near].sum(axis=1) / mass[near].sum(axis=1, keepdims=True)
        cost = squared_distances(ot, first + together, second)
    return coupling


def _with_mass(plan: NDArray[np.float64], masses: tuple[float, float]) -> Coupling:
    """Let the plan meet both samples by growth."""
    n_first, n_second = plan.shape
    start = np.log(masses[0] / n_first / plan.sum(axis=1))
    end = np.log(masses[1] / n_second / plan.sum(axis=0))
    start, end = (
        np.clip(logs, np.median(logs) - MOST_GROWTH / 2, np.median(logs) + MOST_GROWTH / 2)
        for logs in (start, end)
    )
    return Coupling(plan, start, end)
