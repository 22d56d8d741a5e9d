"""Distances of cells to cells and to types, in standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lucidvi.results import Posteriors

#: Share of the variance within labels that is added to the posteriors'. Those of deep cells are
#: so narrow that without it every distance is large; measured on cells of left-out types.
SPREAD = 0.1
#: Cells that a label's covariance is worth before any data: that within all labels.
N_PRIOR = 20
#: Least variance by which distances are divided, where posteriors and labels have none.
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Types:
    """Where cells of each label are in latent space.

    Parameters
    ----------
    loc
        Means, shape ``(n_labels, n_latent)``.
    covariance
        Covariances, shape ``(n_labels, n_latent, n_latent)``, those of small labels close to
        ``variance``.
    variance
        Variance within all labels, shape ``(n_latent,)``.
    """

    loc: NDArray[np.float64]
    covariance: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, loc: NDArray[np.floating], codes: NDArray[np.integer], n_labels: int) -> Self:
        """Describe the types of cells by their latent means and their labels as numbers."""
        counts = np.bincount(codes, minlength=n_labels)
        sums = np.zeros((n_labels, loc.shape[1]))
        np.add.at(sums, codes, loc)
        means = sums / np.maximum(counts, 1)[:, None]
        variance = np.maximum(((loc - means[codes]) ** 2).mean(axis=0), TINY)
        covariance = np.empty((n_labels, loc.shape[1], loc.shape[1]))
        for label, n in enumerate(counts):
            centred = loc[codes == label] - means[label]
            covariance[label] = centred.T @ centred + N_PRIOR * np.diag(variance)
            covariance[label] /= n + N_PRIOR
        return cls(means, covariance, variance)

    def distance(self, posteriors: Posteriors, label: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of cells to a type each, over the root of n_latent."""
        n_latent = posteriors.loc.shape[1]
        difference = posteriors.loc - self.loc[label]
        covariance = self.covariance[label]
        covariance[:, range(n_latent), range(n_latent)] += posteriors.scale**2
        solved = np.linalg.solve(covariance, difference[..., None])[..., 0]
        return np.sqrt((difference * solved).mean(axis=1))


def distance_to_cells(
    posteriors: Posteriors,
    others: Posteriors,
    nearest: NDArray[np.integer],
    variance: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Return the mean distance of cells to some others each.

    Parameters
    ----------
    posteriors, others
        The cells, and the others.
    nearest
        Positions of the others to which each cell is compared, shape ``(n_cells, n_nearest)``.
    variance
        Variance within labels, shape ``(n_latent,)``.

    Returns
    -------
    Shape ``(n_cells,)``.
    """
    sums = posteriors.scale[:, None] ** 2 + others.scale[nearest] ** 2
    sums = sums + SPREAD * variance
    difference = posteriors.loc[:, None] - others.loc[nearest]
    return np.sqrt((difference**2 / sums).mean(axis=2)).mean(axis=1)
