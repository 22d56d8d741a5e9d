"""Where cells are in a reference's latent space, and what their counts say beyond that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.atlas.labels._states import States
from lucidvi.atlas.mapping._agreement import agreement, pearson_residuals
from lucidvi.atlas.mapping._batches import NewBatch
from lucidvi.inference import PosteriorTarget, refine

#: Cells whose residuals of all genes are in memory at once.
BLOCK = 1_024
SEED = 0


@dataclass(frozen=True, eq=False)
class Placed:
    """Cells, in a reference's latent space.

    Parameters
    ----------
    states
        Their posteriors.
    agreement
        How far each cell's residuals agree with those of other cells, NaN where that was not
        looked at; shape ``(n_cells,)``. See :func:`lucidvi.atlas.mapping._agreement.agreement`.
    """

    states: States
    agreement: NDArray[np.float32]

    @classmethod
    def empty(cls, n_cells: int, n_latent: int) -> Self:
        """Return room for so many cells."""
        loc, scale = np.full((2, n_cells, n_latent), np.nan, dtype=np.float32)
        return cls(States(loc, scale), np.full(n_cells, np.nan, dtype=np.float32))

    def put(self, cells: NDArray[np.integer], other: Placed) -> None:
        """Write others to the positions of some of the cells."""
        self.states.loc[cells], self.states.scale[cells] = other.states.loc, other.states.scale
        self.agreement[cells] = other.agreement


def blocks(n_cells: int) -> list[NDArray[np.integer]]:
    """Divide cells of one batch at random into blocks of about equally many."""
    order = np.random.default_rng(SEED).permutation(n_cells)
    return np.array_split(order, -(-n_cells // BLOCK))


def place(
    model: Any,
    adata: AnnData,
    cells: NDArray[np.integer],
    genes: NDArray[np.bool_] | None,
    n_pool: int | None,
    batch: NewBatch | None = None,
) -> Iterator[tuple[NDArray[np.integer], Placed]]:
    """Refine the posteriors of cells of one batch, or of known ones, block by block.

    Parameters
    ----------
    model
        Model that decodes them.
    adata
        Where they are, registered with it.
    cells
        Their positions.
    genes
        Which genes were measured, shape ``(n_genes,)``; None for all.
    n_pool
        Among how many random cells, about, each is compared with those next to it. The more, the
        closer these are, and the more they have in common even in a known type: a pool has to be
        as large as the one that the reference was calibrated by. None for no comparison.
    batch
        The cells' batch, if it is none that the model knows.

    Yields
    ------
    Positions of cells, and the cells.
    """
    for block in blocks(len(cells)):
        with nullcontext() if batch is None else batch.decoded(model.module):
            placed, residuals = _refined(model, adata, cells[block], genes, n_pool, batch)
        if n_pool is not None:
            x = np.concatenate(residuals)
            for pool in np.array_split(np.arange(len(x)), max(1, round(len(x) / n_pool))):
                placed.agreement[pool] = agreement(x[pool], placed.states.loc[pool])
        yield cells[block], placed


def _refined(
    model: Any,
    adata: AnnData,
    cells: NDArray[np.integer],
    genes: NDArray[np.bool_] | None,
    n_pool: int | None,
    batch: NewBatch | None,
) -> tuple[Placed, list[NDArray[np.float32]]]:
    """Refine a block, and return residuals if cells are to be compared."""
    n_latent = model.module.n_latent
    placed, residuals, done = Placed.empty(len(cells), n_latent), [], 0
    for tensors in model._make_data_loader(adata=adata, indices=cells):
        given = tensors if batch is None else batch.of(tensors)
        target = PosteriorTarget.from_module(model.module, given, genes)
        posterior = refine(target).posterior
        rows = slice(done, done + target.n_cells)
        placed.states.loc[rows] = posterior.loc[:, :n_latent].cpu()
        placed.states.scale[rows] = posterior.scale[:, :n_latent].cpu()
        if n_pool is not None:
            residuals.append(pearson_residuals(target, posterior.loc))
        done += target.n_cells
    return placed, residuals
