"""Times whose differences between neighbours are what velocities say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg, splu

from lucidvi._brief import brief
from lucidvi.dynamics.transitions._flow import Flow
from lucidvi.dynamics.transitions._neighbours import Neighbours

Array = NDArray[np.float64]
#: Weight of pairs of cells of which nothing is known, that their times are alike: as a share.
UNKNOWN = 1e-3
#: Residual of a solution, relative, and most steps to it.
RESIDUAL, N_STEPS = 1e-9, 1_500


@dataclass(frozen=True, eq=False)
class Advances:
    """How much later each cell is than its neighbours, by the velocities.

    Parameters
    ----------
    neighbours
        Who is whose neighbour.
    time
        How much later the second cell of each pair is, shape ``(n_pairs,)``.
    weight
        How sure that is, of the same shape.
    """

    neighbours: Neighbours
    time: Array
    weight: Array

    __repr__ = brief

    @classmethod
    def of(cls, flow: Flow, neighbours: Neighbours) -> Advances:
        """Compare the displacements between neighbours with their velocities.

        Parameters
        ----------
        flow, neighbours
            States with velocities, and who is whose neighbour.
        """
        first, second = neighbours.first, neighbours.second
        mean, error = _smoothed(flow, neighbours)
        # Of both cells together: their mean, and its squared standard error, which of cells that
        # have most of their neighbours in common is that of one.
        from_second = np.einsum("ck,ck->c", neighbours.z, mean)[second]
        from_second = from_second - neighbours.products(neighbours.z, mean)
        ahead = 0.5 * (neighbours.ahead(mean) + from_second)
        squares = np.einsum("ck,ck->c", mean, mean)
        squares = 0.25 * (squares[first] + squares[second])
        squares = squares + 0.5 * neighbours.products(mean, mean)
        squares = np.maximum(squares, 0)
        error = 0.5 * (error[first] + error[second])
        both = squares + error
        known = both > 0
        safe = np.where(known, both, 1.0)
        share = np.where(known, squares / safe, 0.0)
        weight = neighbours.kernel * np.maximum(share**2, UNKNOWN)
        return cls(neighbours, np.where(known, ahead / safe, 0.0), weight)

    def potential(self, used: NDArray[np.bool_] | None = None) -> Array:
        """Return times that meet the advances, by weighted least squares.

        Parameters
        ----------
        used
            Pairs that count; by default all.

        Returns
        -------
        Shape ``(n_cells,)``, with a mean of zero over the cells that hang together.
        """
        near = self.neighbours
        weight = self.weight if used is None else np.where(used, self.weight, 0.0)
        weights = near.matrix(weight)
        weights.eliminate_zeros()
        part = connected_components(weights, directed=False)[1]
        time = _solved(weights, -near.sums(weight * self.time), part)
        return time - (np.bincount(part, time) / np.bincount(part))[part]

    def unexplained(self, time: Array, used: NDArray[np.bool_]) -> float:
        """Return the share of the advances that times do not meet.

        Parameters
        ----------
        time
            Time of each cell, shape ``(n_cells,)``.
        used
            Pairs that are asked for, shape ``(n_pairs,)``.
        """
        near = self.neighbours
        missed = self.time - (time[near.second] - time[near.first])
        total = float((self.weight * self.time**2)[used].sum())
        return float((self.weight * missed**2)[used].sum()) / total if total else 0.0


def _smoothed(flow: Flow, neighbours: Neighbours) -> tuple[Array, Array]:
    """Return mean velocities of each cell with its neighbours, and their squared errors."""
    weights = neighbours.matrix(neighbours.kernel) @ diags_array(flow.confidence)
    weights = (weights + diags_array(flow.confidence)).tocsr()
    total = weights.sum(axis=1)
    safe = np.where(total > 0, total, 1.0)[:, None]
    mean = (weights @ flow.velocity) / safe
    squares = (weights @ (flow.velocity**2).sum(axis=1)) / safe[:, 0]
    spread = np.maximum(squares - (mean**2).sum(axis=1), 0)
    n_effective = total**2 / np.maximum(weights.power(2).sum(axis=1), 1e-300)
    return mean, spread / np.maximum(n_effective - 1, 1)


def _solved(weights: csr_array, pull: Array, part: NDArray[np.integer]) -> Array:
    """Solve the normal equations, which leave one constant of each part open."""
    degree = weights.sum(axis=1)
    system = (diags_array(degree) - weights).tocsr()
    inverse = diags_array(1 / np.where(degree > 0, degree, 1.0))
    time, failed = cg(system, pull, rtol=RESIDUAL, maxiter=N_STEPS, M=inverse)
    if failed:  # long and thin, so that factors are small
        fixed = np.unique(part, return_index=True)[1]
        free = np.setdiff1d(np.arange(len(pull)), fixed)
        time = np.zeros(len(pull))
        factors = splu(
            system[free][:, free].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        time[free] = factors.solve(pull[free])
    return time
