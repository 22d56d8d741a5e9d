"""How well simulated cells can be told by their label at some depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from lucidvi.errors import DataError
from lucidvi.inference import posterior_of
from lucidvi.model import Cells
from lucidvi.simulate._drawing import drawing

#: Nearest cells that vote on a label.
N_NEIGHBOURS = 15
#: Most cells of a label that are simulated.
N_OF_LABEL = 500


def called_labels(
    cells: Cells,
    labels: NDArray[np.integer],
    depth_factors: Sequence[float],
    posterior: str,
    seed: int,
) -> dict[float, NDArray[np.float64]]:
    """Simulate cells of each label and label them by the nearest other cells.

    Parameters
    ----------
    cells
        Cells of the data.
    labels
        Codes of the cells' labels, shape ``(n_cells,)``, from 0 without gaps.
    depth_factors
        Library sizes, as multiples of the data's.
    posterior
        Posterior that states are drawn from, and that their counts are then placed by, see
        :func:`lucidvi.inference.posterior_of`.
    seed
        Seed of the choice of cells and of the draws.

    Returns
    -------
    For each depth factor the share of the cells of each label (rows) that get each label, shape
    ``(n_labels, n_labels)``.
    """
    n = int(labels.max()) + 1
    rng = np.random.default_rng(seed)
    positions = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == label))[:N_OF_LABEL] for label in range(n)]
    )
    some = cells.select(positions)
    measured = _states(cells, posterior, seed)
    placed, empty = _placed(some, tuple(depth_factors), posterior, seed)
    index = NearestNeighbors(n_neighbors=min(N_NEIGHBOURS + 1, len(measured))).fit(measured)
    called = {}
    for r in depth_factors:
        neighbours = index.kneighbors(placed[r], return_distance=False)
        # The cell itself is no evidence, and leaves one neighbour too many if it is none of them.
        other = neighbours != positions[:, None]
        other[other.all(axis=1), -1] = False
        votes = np.zeros((len(positions), n))
        np.add.at(votes, (np.nonzero(other)[0], labels[neighbours[other]]), 1)
        counted = ~empty[r]
        table = np.zeros((n, n))
        np.add.at(table, (labels[positions][counted], votes.argmax(axis=1)[counted]), 1)
        total = table.sum(axis=1, keepdims=True)
        if (total == 0).any():
            raise DataError(
                f"`depth_factor` has {r!r}, at which no cell of a label has a count.",
                remedy="Take a larger depth.",
            )
        called[r] = table / total
    return called


def _states(cells: Cells, posterior: str, seed: int) -> NDArray[np.float64]:
    with drawing(cells.model, seed):
        means = [
            target.representation(posterior_of(target, posterior).mean).cpu().numpy()
            for _, target in cells.targets("Placing cells")
        ]
    return np.concatenate(means)


def _placed(
    cells: Cells, depth_factors: Sequence[float], posterior: str, seed: int
) -> tuple[dict[float, NDArray[np.float64]], dict[float, NDArray[np.bool_]]]:
    """Return where cells with new counts are placed, and which have none."""
    states: dict[float, list[NDArray[np.float64]]] = {r: [] for r in depth_factors}
    empty: dict[float, list[NDArray[np.bool_]]] = {r: [] for r in depth_factors}
    with drawing(cells.model, seed):
        for _, target in cells.targets("Labelling simulated cells"):
            z = posterior_of(target, posterior).sample()
            for r in depth_factors:
                x = target.likelihood(z).scaled(float(np.log(r))).sample()
                again = target.with_exposure(z, target.exposure(z) * r)[0].with_counts(x)
                mean = again.representation(posterior_of(again, posterior).mean)
                states[r].append(mean.cpu().numpy())
                empty[r].append((torch.sum(x, dim=-1) == 0).cpu().numpy())
    return (
        {r: np.concatenate(parts) for r, parts in states.items()},
        {r: np.concatenate(parts) for r, parts in empty.items()},
    )
