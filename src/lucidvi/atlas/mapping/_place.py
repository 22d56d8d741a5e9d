"""Where cells are in a reference's latent space, and what their counts say beyond that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import scvi
from numpy.typing import NDArray

from lucidvi.atlas.mapping._agreement import agreement, pearson_residuals
from lucidvi.atlas.mapping._batches import NewBatch
from lucidvi.inference import NormalPosterior, PosteriorTarget, linearized
from lucidvi.model import Cells
from lucidvi.results import Posteriors

#: Cells whose residuals of all genes are in memory at once.
BLOCK = 1_024
SEED = 0


def _encoder(target: PosteriorTarget) -> NormalPosterior:
    return NormalPosterior.from_distribution(target.q0)


#: Where cells are, by the values of ``posterior``.
POSTERIORS: dict[str, Callable[[PosteriorTarget], NormalPosterior]] = {
    "encoder": _encoder,
    "refined": linearized,
}


@dataclass(frozen=True, eq=False)
class Placed:
    """Cells, in a reference's latent space.

    Parameters
    ----------
    posteriors
        Their posteriors.
    agreement
        How far each cell's residuals agree with those of other cells, NaN where that was not
        looked at; shape ``(n_cells,)``. See :func:`lucidvi.atlas.mapping._agreement.agreement`.
    """

    posteriors: Posteriors
    agreement: NDArray[np.float32]

    @classmethod
    def empty(cls, names: pd.Index, n_latent: int) -> Self:
        """Return room for some cells."""
        loc, scale = np.full((2, len(names), n_latent), np.nan, dtype=np.float32)
        posteriors = Posteriors(loc=loc, scale=scale, names=names)
        return cls(posteriors, np.full(len(names), np.nan, dtype=np.float32))

    def put(self, indices: NDArray[np.integer], other: Placed) -> None:
        """Write others to the positions of some of the cells."""
        self.posteriors.loc[indices] = other.posteriors.loc
        self.posteriors.scale[indices] = other.posteriors.scale
        self.agreement[indices] = other.agreement


def blocks(n_cells: int) -> list[NDArray[np.integer]]:
    """Divide cells of one batch at random into blocks of about equally many."""
    order = np.random.default_rng(SEED).permutation(n_cells)
    return np.array_split(order, -(-n_cells // BLOCK))


def place(
    cells: Cells,
    genes: NDArray[np.bool_] | None,
    n_pool: int | None,
    batch: NewBatch | None = None,
    posterior: str = "refined",
) -> Iterator[tuple[NDArray[np.integer], Placed]]:
    """Infer the posteriors of cells of one batch, or of known ones, block by block.

    Parameters
    ----------
    cells
        The cells, as the model reads them that decodes them.
    genes
        Which genes were measured, shape ``(n_genes,)``; None for all.
    n_pool
        Among how many random cells, about, each is compared with those next to it. The more, the
        closer these are, and the more they have in common even in a known type: a pool has to be
        as large as the one that the reference was calibrated by. None for no comparison.
    batch
        The cells' batch, if it is none that the model knows.
    posterior
        Key of :data:`POSTERIORS`.

    Yields
    ------
    Positions among the cells, and the cells there.
    """
    cells = cells if batch is None else batch.cells(cells)
    for block in blocks(len(cells)):
        placed, residuals = _placed(cells.select(block), genes, n_pool, batch, posterior)
        if n_pool is not None:
            x = np.concatenate(residuals)
            counted = np.flatnonzero(cells.select(block).have())  # others have no residuals
            for pool in np.array_split(counted, max(1, round(len(counted) / n_pool))):
                placed.agreement[pool] = agreement(x[pool], placed.posteriors.loc[pool])
        yield block, placed


def _placed(
    cells: Cells,
    genes: NDArray[np.bool_] | None,
    n_pool: int | None,
    batch: NewBatch | None,
    posterior: str,
) -> tuple[Placed, list[NDArray[np.float32]]]:
    """Infer the posteriors of a block, and return residuals if cells are to be compared."""
    placed = Placed.empty(cells.names, cells.model.module.n_latent)
    residuals = []
    for rows, target in cells.targets(None, scvi.settings.batch_size, genes):
        target = target if batch is None else batch.decoded(target)
        q = POSTERIORS[posterior](target)
        placed.posteriors.loc[rows] = target.latent(q.loc).cpu()
        placed.posteriors.scale[rows] = target.latent(q.scale).cpu()
        if n_pool is not None:
            residuals.append(pearson_residuals(target, q.loc))
    return placed, residuals
