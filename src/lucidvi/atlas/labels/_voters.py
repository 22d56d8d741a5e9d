"""Reference cells, as far as they say something of other cells: votes and distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mode

from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._types import Types, distance_to_cells
from lucidvi.atlas.labels._votes import N_NEIGHBOURS, votes
from lucidvi.results import Posteriors

#: Cells whose neighbours' posteriors are held at once.
CHUNK = 4_096


@dataclass(frozen=True, eq=False)
class Voters:
    """Cells with labels that vote on others.

    Parameters
    ----------
    posteriors
        Their posteriors.
    codes, n_labels
        Their labels as numbers under ``n_labels``, shape ``(n_cells,)``.
    neighbours
        Index of their posteriors' means.
    """

    posteriors: Posteriors
    codes: NDArray[np.integer]
    n_labels: int
    neighbours: Neighbours

    @cached_property
    def types(self) -> Types:
        """Where cells of each label are."""
        return Types.of(self.posteriors.loc, self.codes, self.n_labels)

    def select(self, positions: NDArray[np.integer]) -> Voters:
        """Return some of the voters, to be searched exactly."""
        posteriors = self.posteriors.select(positions)
        index = Neighbours(posteriors.loc, exact=len(positions))
        return Voters(posteriors, self.codes[positions], self.n_labels, index)

    def judge(
        self, posteriors: Posteriors, exclude: NDArray[np.integer] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return shares of the votes on other cells, and their distances to the voters.

        Parameters
        ----------
        posteriors
            The cells.
        exclude
            Position of the voter that has no say on each cell, which is the cell itself; shape
            ``(n_cells,)``.

        Returns
        -------
        Shapes ``(n_cells, n_labels)`` and ``(n_cells,)``.
        """
        loc, scale = posteriors.loc, posteriors.scale
        shares = votes(self.neighbours, self.codes, self.n_labels, loc, scale, exclude=exclude)
        return shares, self.distances(posteriors, exclude)

    def distances(
        self, posteriors: Posteriors, exclude: NDArray[np.integer] | None = None
    ) -> NDArray[np.float64]:
        r"""Return the distance of cells to the voters, in standard deviations.

        .. math::
            \mathrm{distance}_c &= \sqrt{d_c \, t_c} \\
            d_c &= \frac{1}{k} \sum_{j \in \mathrm{nearest}_k(m_c)} \sqrt{\frac{1}{D}
            \sum_{i=1}^{D} \frac{(m_{ci} - m_{ji})^2}{\sigma_{ci}^2 + \sigma_{ji}^2 + h w_i}} \\
            t_c &= \sqrt{\frac{1}{D} (m_c - \mu_\ell)^\top
            \left(\Sigma_\ell + \mathrm{diag}(\sigma_c^2)\right)^{-1} (m_c - \mu_\ell)}

        where :math:`\ell` is the label of most of the :math:`k = 15` nearest, :math:`\mu_\ell`
        and :math:`\Sigma_\ell` its mean and covariance, :math:`w` the variance within labels and
        :math:`h = 0.1`. Cells of a new type are far from all others, or far out in a type, or
        both. A posterior is wide where a cell has few counts or few measured genes, so that
        neither makes it look new.

        Parameters
        ----------
        posteriors, exclude
            As in :meth:`judge`.

        Returns
        -------
        Shape ``(n_cells,)``, without units; the larger, the less the cell is like the voters.
        """
        distances = np.empty(len(posteriors.loc))
        for first in range(0, len(distances), CHUNK):
            rows = np.arange(first, min(first + CHUNK, len(distances)))
            chunk = posteriors.select(rows)
            excluded = None if exclude is None else exclude[rows]
            nearest = self.neighbours.find(chunk.loc, N_NEIGHBOURS, excluded)
            to_cells = distance_to_cells(chunk, self.posteriors, nearest, self.types.variance)
            label = mode(self.codes[nearest], axis=1).mode
            distances[rows] = np.sqrt(to_cells * self.types.distance(chunk, label))
        return distances
