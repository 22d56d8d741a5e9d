"""Reference cells, as far as they say something of other cells: votes and distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._novelty import Types, distances
from lucidvi.atlas.labels._votes import votes


@dataclass(frozen=True, eq=False)
class States:
    """Latent posteriors of cells.

    Parameters
    ----------
    loc, scale
        Means and standard deviations, shape ``(n_cells, n_latent)``.
    """

    loc: NDArray[np.float32]
    scale: NDArray[np.float32]

    def select(self, cells: NDArray[np.integer]) -> Self:
        """Return those of some of the cells, given by their positions."""
        return type(self)(self.loc[cells], self.scale[cells])


@dataclass(frozen=True, eq=False)
class Voters:
    """Cells with labels that vote on others.

    Parameters
    ----------
    states
        Their posteriors.
    codes, n_labels
        Their labels as numbers under ``n_labels``, shape ``(n_cells,)``.
    neighbours
        Index of their posteriors' means.
    """

    states: States
    codes: NDArray[np.integer]
    n_labels: int
    neighbours: Neighbours

    @cached_property
    def types(self) -> Types:
        """Where cells of each label are."""
        return Types.of(self.states.loc, self.codes, self.n_labels)

    def select(self, cells: NDArray[np.integer]) -> Voters:
        """Return some of the voters, given by their positions, to be searched exactly."""
        states = self.states.select(cells)
        return Voters(
            states, self.codes[cells], self.n_labels, Neighbours(states.loc, exact=len(cells))
        )

    def judge(
        self, states: States, besides: NDArray[np.integer] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return shares of the votes of other cells, and their distances to the voters.

        Parameters
        ----------
        states
            The cells.
        besides
            A voter for each cell that has no say on it, itself; shape ``(n_cells,)``.

        Returns
        -------
        Shapes ``(n_cells, n_labels)`` and ``(n_cells,)``.
        """
        loc, scale = states.loc, states.scale
        shares = votes(self.neighbours, self.codes, self.n_labels, loc, scale, besides=besides)
        return shares, distances(self, states, besides)
