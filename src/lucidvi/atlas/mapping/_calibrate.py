"""Calibration: some of the reference's own cells are treated as a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from lucidvi._progress import track
from lucidvi.atlas.calibration._probabilities import cross_fitted, fit
from lucidvi.atlas.labels._voters import Voters
from lucidvi.atlas.labels._votes import N_NEIGHBOURS
from lucidvi.atlas.mapping._batches import NewBatch, learn_batch
from lucidvi.atlas.mapping._place import Placed, place
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.data import category_texts
from lucidvi.model import Cells
from lucidvi.results import Calibration, Setting

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
    indices, truth
        Their positions in the reference, ascending, and their labels as numbers.
    voters
        Who votes on them.
    exclude
        Position of the voter that has no say on each cell, which is the cell itself; None if the
        cells are not among the voters.
    batch
        The batch that they are all of, if it is taken for a new one.
    """

    indices: NDArray[np.integer]
    truth: NDArray[np.integer]
    voters: Voters
    exclude: NDArray[np.integer] | None = None
    batch: str | None = None

    def select(self, rows: NDArray[np.bool_]) -> Group:
        """Return some of the cells, with the same voters."""
        exclude = None if self.exclude is None else self.exclude[rows]
        return replace(self, indices=self.indices[rows], truth=self.truth[rows], exclude=exclude)


def calibrate(
    cells: Cells,
    voters: Voters,
    batches: pd.Categorical | None,
    information: NDArray[np.floating],
    of_genes: float = 1.0,
) -> Calibration | None:
    """Label reference cells by the others, with all genes and with a part, and see what comes out.

    Modalities beside the genes are there with all of the genes alone.

    Parameters
    ----------
    cells
        All cells of a trained model.
    voters, batches
        The same as they vote on others, and their batches.
    information
        What each gene says about the cell, as shares, shape ``(n_genes,)``.
    of_genes
        Share of the genes in what all modalities say.

    Returns
    -------
    None if there is but one cell.
    """
    if len(voters.codes) < 2:
        return None
    indices, held_out = calibration_cells(cells.model, len(voters.codes))
    kinds = {False: [Group(indices, voters.codes[indices], voters, indices)]}
    comparable = np.zeros(len(indices), dtype=bool)
    if batches is not None:
        comparable = n_others(voters, batches)[indices] >= N_NEIGHBOURS
        others = list(by_other_batches(indices[comparable], voters, batches))
        if sum(len(group.indices) for group in others) >= N_CELLS_MIN:
            kinds[True] = others
    rng = np.random.default_rng(SEED)
    masks = [rng.random(len(information)) < share for share in SHARES]
    for genes in masks:
        genes[information.argmax()] = True  # so that there is one
    has_genes = cells.have()
    # Of the genes alone, cells without them would have nothing.
    tasks = [
        (genes, new_batch, groups if genes.all() else _having(groups, has_genes))
        for genes in masks
        for new_batch, groups in kinds.items()
    ]
    tasks = [task for task in tasks if task[2]]
    all_groups = [group for groups in kinds.values() for group in groups]
    learned = {
        group.batch: _as_new(cells, group) for group in track(all_groups, "Learning batches")
    }
    settings = [
        _setting(
            new_batch,
            float(of_genes * information[genes].sum() + (1 - of_genes) * genes.all()),
            [_judged(cells, group, learned[group.batch], genes) for group in groups],
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
    indices: NDArray[np.integer], voters: Voters, batches: pd.Categorical
) -> Iterator[Group]:
    """Let all others vote on the cells of each batch; of many, on those with the most cells.

    Parameters
    ----------
    indices
        Positions of calibration cells, whose labels other batches have, too.
    voters, batches
        All cells, and their batches.
    """
    for batch in pd.Series(batches.codes[indices]).value_counts().index[:N_NEW]:
        inside = indices[batches.codes[indices] == batch]
        others = voters.select(np.flatnonzero(batches.codes != batch))
        yield Group(inside, voters.codes[inside], others, batch=str(batches.categories[batch]))


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


def _having(groups: list[Group], has: NDArray[np.bool_]) -> list[Group]:
    """Return the groups of the cells that have something, without empty ones."""
    chosen = [group.select(has[group.indices]) for group in groups]
    return [group for group in chosen if len(group.indices)]


def _as_new(cells: Cells, group: Group) -> NewBatch | None:
    """Learn a known batch as if it were new, with all genes."""
    if group.batch is None:
        return None
    setup = Setup.of(cells.model)
    code = list(category_texts(setup.batches)).index(group.batch)
    of_batch = cells.select(np.ravel(cells.field(REGISTRY_KEYS.BATCH_KEY)) == code)
    return learn_batch(of_batch, np.ones(len(setup.genes), bool), setup.batches, exclude=code)


def _judged(
    cells: Cells, group: Group, batch: NewBatch | None, genes: NDArray[np.bool_]
) -> Judged:
    """Treat a group as a query."""
    measured = None if genes.all() else genes
    if measured is not None:
        others = Setup.of(cells.model).others
        cells = cells.with_features({k: np.zeros(m.n_features, bool) for k, m in others.items()})
    placed = Placed.empty(cells.names[group.indices], cells.model.module.n_latent)
    n_pool = len(group.indices) if batch is None else None
    for rows, block in place(cells.select(group.indices), measured, n_pool, batch):
        placed.put(rows, block)
    shares, distance = group.voters.judge(placed.posteriors, group.exclude)
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
