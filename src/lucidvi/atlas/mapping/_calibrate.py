"""Calibration: some of the reference's own cells are treated as a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from lucidvi._progress import track
from lucidvi.atlas.calibration._calibration import Calibration, Setting
from lucidvi.atlas.calibration._reliability import cross_fitted, fit
from lucidvi.atlas.labels._voters import Voters
from lucidvi.atlas.labels._votes import N_NEIGHBOURS
from lucidvi.atlas.mapping._batches import NewBatch, learn_batch
from lucidvi.atlas.mapping._place import Placed, place
from lucidvi.atlas.mapping._query import categories
from lucidvi.data import category_texts

#: Cells to calibrate by: at most; and at least, else cells of the training are taken.
N_CELLS, N_CELLS_MIN = 1_000, 20
#: Shares of the genes that are left in, at random, from all of them down.
SHARES = (1.0, 0.5, 0.2)
#: Batches, at most, of which each is taken for a new one.
N_NEW = 8
SEED = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Calibration cells with the same voters.

    Parameters
    ----------
    cells, truth
        Their positions in the reference, ascending, and their labels as numbers.
    voters
        Who votes on them.
    exclude
        Position of the voter that has no say on each cell, which is the cell itself; None if the
        cells are not among the voters.
    batch
        The batch that they are all of, if it is taken for a new one.
    """

    cells: NDArray[np.integer]
    truth: NDArray[np.integer]
    voters: Voters
    exclude: NDArray[np.integer] | None = None
    batch: str | None = None


def calibrate(
    model: Any,
    voters: Voters,
    batches: pd.Categorical | None,
    information: NDArray[np.floating],
) -> Calibration | None:
    """Label reference cells by the others, with all genes and with a part, and see what comes out.

    Parameters
    ----------
    model
        Trained model with its data.
    voters, batches
        All of its cells, and their batches.
    information
        What each gene says about the cell, as shares, shape ``(n_genes,)``.

    Returns
    -------
    None if there is but one cell.
    """
    if len(voters.codes) < 2:
        return None
    cells, held_out = calibration_cells(model, len(voters.codes))
    kinds = {False: [Group(cells, voters.codes[cells], voters, cells)]}
    comparable = np.zeros(len(cells), dtype=bool)
    if batches is not None:
        comparable = n_others(voters, batches)[cells] >= N_NEIGHBOURS
        others = list(by_other_batches(cells[comparable], voters, batches))
        if sum(len(group.cells) for group in others) >= N_CELLS_MIN:
            kinds[True] = others
    rng = np.random.default_rng(SEED)
    masks = [rng.random(len(information)) < share for share in SHARES]
    for genes in masks:
        genes[information.argmax()] = True  # so that there is one
    tasks = [(genes, *kind) for genes in masks for kind in kinds.items()]
    all_groups = [group for groups in kinds.values() for group in groups]
    learned = {
        group.batch: _as_new(model, group) for group in track(all_groups, "Learning batches")
    }
    settings = [
        _setting(
            new_batch,
            float(information[genes].sum()),
            [_judged(model, group, learned[group.batch], genes) for group in groups],
        )
        for genes, new_batch, groups in track(tasks, "Calibrating")
    ]
    return Calibration(held_out, tuple(settings), float(comparable.mean()))


def calibration_cells(model: Any, n_cells: int) -> tuple[NDArray[np.integer], bool]:
    """Choose cells that the model was not trained on, if there are enough, else any.

    Parameters
    ----------
    model
        Trained model.
    n_cells
        Number of its cells.

    Returns
    -------
    Their positions, and whether they were held out.
    """
    splits = (getattr(model, f"{name}_indices_", None) for name in ("validation", "test"))
    unseen = np.concatenate([np.zeros(0, dtype=int), *(s for s in splits if s is not None)])
    held_out = len(unseen) >= N_CELLS_MIN and int(unseen.max()) < n_cells
    chosen = unseen if held_out else np.arange(n_cells)
    return np.sort(np.random.default_rng(SEED).permutation(chosen)[:N_CELLS]), held_out


def n_others(voters: Voters, batches: pd.Categorical) -> NDArray[np.integer]:
    """Count the cells of other batches that have each cell's label, shape ``(n_cells,)``."""
    counts = np.zeros((voters.n_labels, len(batches.categories)), dtype=int)
    np.add.at(counts, (voters.codes, batches.codes), 1)
    return counts.sum(axis=1)[voters.codes] - counts[voters.codes, batches.codes]


def by_other_batches(
    cells: NDArray[np.integer], voters: Voters, batches: pd.Categorical
) -> Iterator[Group]:
    """Let all others vote on the cells of each batch; of many, on those with the most cells.

    Parameters
    ----------
    cells
        Positions of calibration cells, whose labels other batches have, too.
    voters, batches
        All cells, and their batches.
    """
    for batch in pd.Series(batches.codes[cells]).value_counts().index[:N_NEW]:
        own = cells[batches.codes[cells] == batch]
        others = voters.select(np.flatnonzero(batches.codes != batch))
        yield Group(own, voters.codes[own], others, batch=str(batches.categories[batch]))


@dataclass(frozen=True, eq=False)
class Judged:
    """What came out for a group, and the truth.

    Parameters
    ----------
    shares
        Of the votes, shape ``(n_cells, n_labels)``.
    distance, agreement
        See :func:`lucidvi.atlas.labels._novelty.novelty`, shape ``(n_cells,)``.
    codes
        True labels as numbers, shape ``(n_cells,)``.
    """

    shares: NDArray[np.float64]
    distance: NDArray[np.float64]
    agreement: NDArray[np.float32]
    codes: NDArray[np.integer]


def _as_new(model: Any, group: Group) -> NewBatch | None:
    """Learn a known batch as if it were new, with all genes."""
    if group.batch is None:
        return None
    names = category_texts(categories(model, REGISTRY_KEYS.BATCH_KEY))
    code = list(names).index(group.batch)
    of_batch = np.ravel(model.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)) == code
    genes = np.ones(model.adata_manager.summary_stats.n_vars, dtype=bool)
    return learn_batch(model, np.flatnonzero(of_batch), genes, exclude=code)


def _judged(model: Any, group: Group, batch: NewBatch | None, genes: NDArray[np.bool_]) -> Judged:
    """Treat a group as a query."""
    placed = Placed.empty(len(group.cells), model.module.n_latent)
    some = None if genes.all() else genes
    n_pool = len(group.cells) if batch is None else None
    for rows, block in place(model, model.adata, group.cells, some, n_pool, batch):
        placed.put(np.searchsorted(group.cells, rows), block)
    shares, distance = group.voters.judge(placed.states, group.exclude)
    return Judged(shares, distance, placed.agreement, group.truth)


def _setting(new_batch: bool, information: float, judged: list[Judged]) -> Setting:
    shares, distance, agreement, codes = (
        np.concatenate([getattr(one, name) for one in judged])
        for name in ("shares", "distance", "agreement", "codes")
    )
    smoothing, power = fit(shares, codes)
    return Setting(
        new_batch=new_batch,
        information=information,
        smoothing=smoothing,
        power=power,
        distance=distance.astype(np.float32),
        agreement=agreement,
        confidence_raw=shares.max(axis=1).astype(np.float32),
        confidence=cross_fitted(shares, codes).max(axis=1).astype(np.float32),
        right=shares.argmax(axis=1) == codes,
    )
