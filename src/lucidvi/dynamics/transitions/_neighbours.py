"""Neighbours of cells: who lies near whom, how near, and how far ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from lucidvi._brief import brief

Array = NDArray[np.float64]
#: Neighbours of a cell; of few cells, no more than a share of them, so that they are near.
N_NEIGHBORS, SHARE, FEW = 30, 0.2, 5
#: Pairs whose displacements are made at once.
AT_ONCE = 200_000
#: Least reach of a cell, as a share of the mean: that of cells that lie on each other.
LEAST_REACH = 1e-6


@dataclass(frozen=True, eq=False)
class Neighbours:
    r"""Pairs of neighbours, each both ways, sorted by the first of them.

    Two cells are neighbours if either is one of the nearest of the other. How near they are is
    told by a kernel that is as wide as the cells lie apart here,

    .. math::
        K_{ij} = \exp\left(-\frac{|z_j - z_i|^2}{2 \sigma_i \sigma_j}\right),

    with the mean distance :math:`\sigma` of the nearest cells of each (Zelnik-Manor and Perona,
    NIPS 2004).

    Parameters
    ----------
    z
        States, less their mean, shape ``(n_cells, n_latent)``.
    first, second
        Positions of both cells, shape ``(n_pairs,)``.
    distance, kernel
        :math:`|z_j - z_i|` and :math:`K_{ij}`, shape ``(n_pairs,)``.
    part
        Number of the part that each cell belongs to, shape ``(n_cells,)``: no cell has neighbours
        in another.
    """

    z: Array
    first: NDArray[np.integer]
    second: NDArray[np.integer]
    distance: Array
    kernel: Array
    part: NDArray[np.integer]

    __repr__ = brief

    @classmethod
    def of(cls, z: Array, n_neighbors: int = N_NEIGHBORS) -> Neighbours:
        """Find the neighbours of cells.

        Parameters
        ----------
        z
            States, shape ``(n_cells, n_latent)``.
        n_neighbors
            Nearest cells that are looked for; of few cells no more than a fifth of them, or five.
        """
        z = z - z.mean(axis=0)
        n_cells = len(z)
        k = min(n_neighbors, max(FEW, int(SHARE * n_cells)), n_cells - 1)
        distances, near = NearestNeighbors(n_neighbors=k).fit(z).kneighbors()
        reach = distances.mean(axis=1)
        reach = np.maximum(reach, LEAST_REACH * reach.mean() + 1e-300)
        one_way = csr_array(
            (np.ones(near.size), near.ravel(), np.arange(0, near.size + 1, k)),
            shape=(n_cells, n_cells),
        )
        either = one_way.maximum(one_way.T).tocsr()
        either.sort_indices()
        pairs = either.tocoo()
        first, second = pairs.coords
        squares = np.concatenate(
            [((z[second[rows]] - z[first[rows]]) ** 2).sum(axis=1) for rows in _blocks(len(first))]
        )
        kernel = np.exp(-squares / (2 * reach[first] * reach[second]))
        part = connected_components(either, directed=False)[1]
        return cls(z, first, second, np.sqrt(squares), kernel, part)

    def __len__(self) -> int:
        return len(self.z)

    def ahead(self, vectors: Array) -> Array:
        """Return how far each second cell lies ahead of the first along a vector of the first.

        Parameters
        ----------
        vectors
            Shape ``(n_cells, n_latent)``.

        Returns
        -------
        Inner products of displacements and vectors, shape ``(n_pairs,)``.
        """
        own = np.einsum("ck,ck->c", self.z, vectors)
        return self.products(vectors, self.z) - own[self.first]

    def products(self, left: Array, right: Array) -> Array:
        """Return inner products of a vector of each first cell and one of the second.

        Parameters
        ----------
        left, right
            Vectors of the cells, shape ``(n_cells, n_latent)``.

        Returns
        -------
        Shape ``(n_pairs,)``.
        """
        blocks = (
            np.einsum("pk,pk->p", left[self.first[rows]], right[self.second[rows]])
            for rows in _blocks(len(self.first))
        )
        return np.concatenate(list(blocks))

    def sums(self, values: Array) -> Array:
        """Sum numbers of pairs over the neighbours of each cell, to the shape ``(n_cells,)``."""
        sums: Array = np.bincount(self.first, values, minlength=len(self)).astype(np.float64)
        return sums

    def matrix(self, values: Array) -> csr_array:
        """Return numbers of pairs as a matrix of cells by cells."""
        shape = (len(self), len(self))
        return coo_array((values, (self.first, self.second)), shape=shape).tocsr()


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE)]
