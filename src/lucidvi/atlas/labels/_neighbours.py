"""The reference cells that lie closest to a latent state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pynndescent import NNDescent

from lucidvi import kernels

#: References of up to so many cells are searched exactly: at 100,000 cells of 10 latent dimensions
#: 0.03 ms a state, while PyNNDescent compiles for 20 s before its first answer.
EXACT = 100_000
#: Of the index's construction, so that it is the same each time that it is built.
SEED = 0
#: Neighbours a cell in the index's graph, at least those that are asked for.
N_GRAPH = 30


class Neighbours:
    """Index of the reference cells' latent means, by Euclidean distance.

    Made anew when a reference is loaded: what PyNNDescent would save is a pickle.

    Parameters
    ----------
    loc
        Latent means, shape ``(n_cells, n_latent)``.
    exact
        Largest number of cells that are searched exactly; more are searched by PyNNDescent.

    References
    ----------
    Dong, Moses and Li, WWW (2011), Efficient k-nearest neighbor graph construction for generic
    similarity measures.
    """

    def __init__(self, loc: NDArray[np.float32], exact: int = EXACT) -> None:
        self.n_cells = len(loc)
        self._points: kernels.Points | None = None
        if self.n_cells <= exact:
            self._points = kernels.Points(loc)
        else:
            self._graph = NNDescent(loc, n_neighbors=N_GRAPH, random_state=SEED)
            self._graph.prepare()

    def find(
        self,
        z: NDArray[np.floating],
        n_neighbours: int,
        exclude: NDArray[np.integer] | None = None,
    ) -> NDArray[np.integer]:
        """Return the positions of the nearest cells, nearest first.

        Parameters
        ----------
        z
            Latent states, shape ``(n, n_latent)``.
        n_neighbours
            Number of cells; all of them if there are fewer.
        exclude
            Position of a cell that is not a neighbour of each state, shape ``(n,)``.

        Returns
        -------
        Shape ``(n, min(n_neighbours, n_cells))``, where n_cells does not count an excluded one.
        """
        if exclude is None:
            return self._find(z, min(n_neighbours, self.n_cells))
        k = min(n_neighbours, self.n_cells - 1)
        nearest = self._find(z, k + 1)
        others_first = np.argsort(nearest == exclude[:, None], axis=1, kind="stable")
        return np.take_along_axis(nearest, others_first[:, :k], axis=1)

    def _find(self, z: NDArray[np.floating], k: int) -> NDArray[np.integer]:
        if self._points is not None:
            return self._points.nearest(z, k)
        return self._graph.query(z, k=k)[0]
