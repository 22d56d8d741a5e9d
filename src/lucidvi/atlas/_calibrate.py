"""Calibration: some of the reference's own cells are treated as a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi.atlas._calibration import Calibration, Setting
from lucidvi.atlas._labels import N_NEIGHBOURS
from lucidvi.atlas._reliability import cross_fitted, fit
from lucidvi.atlas._voters import States, Voters

#: Cells to calibrate by: at most; and at least, else cells of the training are taken.
N_CELLS, N_CELLS_MIN = 1_000, 20
#: Shares of the genes that are left in, at random, from all of them down.
SHARES = (1.0, 0.5, 0.2)
#: Groups of batches, at most, of which each is voted on by the others.
N_GROUPS = 8
SEED = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Calibration cells with the same voters.

    Parameters
    ----------
    rows
        Positions among the calibration cells.
    voters
        Who votes on them.
    besides
        A voter for each that has no say on it, itself; None if they are not among the voters.
    """

    rows: NDArray[np.integer]
    voters: Voters
    besides: NDArray[np.integer] | None = None


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
    kinds = {False: [Group(np.arange(len(cells)), voters, cells)]}
    if batches is not None:
        others = list(by_other_batches(cells, voters, batches.codes))
        if sum(len(group.rows) for group in others) >= N_CELLS_MIN:
            kinds[True] = others
    rng = np.random.default_rng(SEED)
    settings = []
    for share in SHARES:
        genes = rng.random(len(information)) < share
        genes[information.argmax()] = True  # so that there is one
        posterior = model.refine_posterior(indices=cells, genes=None if genes.all() else genes)
        states = States(posterior.loc.astype(np.float32), posterior.scale.astype(np.float32))
        known = float(information[genes].sum())
        settings += [
            _setting(new_batch, known, groups, states, voters.codes[cells])
            for new_batch, groups in kinds.items()
        ]
    return Calibration(held_out, tuple(settings))


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


def by_other_batches(
    cells: NDArray[np.integer], voters: Voters, batches: NDArray[np.integer]
) -> Iterator[Group]:
    """Let the batches vote on each other, each label's cells only where others have enough of it.

    Parameters
    ----------
    cells
        Positions of the calibration cells.
    voters, batches
        All cells, and their batches as numbers.
    """
    group = batches % N_GROUPS
    for i in np.unique(group[cells]):
        others = np.flatnonzero(group != i)
        n_others = np.bincount(voters.codes[others], minlength=voters.n_labels)
        judged = (group[cells] == i) & (n_others[voters.codes[cells]] >= N_NEIGHBOURS)
        if judged.any():
            yield Group(np.flatnonzero(judged), voters.select(others))


def _setting(
    new_batch: bool,
    information: float,
    groups: list[Group],
    states: States,
    codes: NDArray[np.integer],
) -> Setting:
    judged = [g.voters.judge(states.select(g.rows), g.besides) for g in groups]
    shares, scores = (np.concatenate(part) for part in zip(*judged, strict=True))
    codes = codes[np.concatenate([group.rows for group in groups])]
    smoothing, power = fit(shares, codes)
    return Setting(
        new_batch=new_batch,
        information=information,
        smoothing=smoothing,
        power=power,
        scores=np.sort(scores).astype(np.float32),
        confidence_raw=shares.max(axis=1).astype(np.float32),
        confidence=cross_fitted(shares, codes).max(axis=1).astype(np.float32),
        right=shares.argmax(axis=1) == codes,
    )
