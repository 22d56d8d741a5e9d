"""Cells that a user puts into the training, validation and test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lucidvi._positions import cell_positions
from lucidvi.checks import is_number
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Shares of the cells that are usual, and how far sums of shares are off by rounding.
SIZES, ROUNDING = {"train_size": 0.9, "validation_size": 0.1}, 1e-9
#: The sets, in the order in which scvi-tools takes them.
SETS = ("training", "validation", "test")
#: What ``external_indexing`` looks like.
EXAMPLE = 'datasplitter_kwargs={"external_indexing": [training, validation, test]}'


def splits(external_indexing: Any, names: pd.Index) -> list[NDArray[np.integer]]:
    """Return the positions of the training, validation and test cells.

    Parameters
    ----------
    external_indexing
        A list of up to three sets, each positions, a boolean mask of all cells, or names. The
        validation set, or else the test set, if it is left out or empty, gets all other cells.
    names
        Names of all cells.

    Raises
    ------
    lucidvi.errors.DataError
        If it is no such list, no cell is trained on, a cell is twice in a set or in two of them,
        or three sets leave cells out.
    """
    sets = _sets(external_indexing)
    positions = [_positions(cells, i, names) for i, cells in enumerate(sets)]
    if len(positions[0]) == 0:
        raise DataError(
            "`external_indexing[0]`, the training set, is empty.",
            remedy=f"give at least one cell to train on: {EXAMPLE}",
        )
    _check_apart(positions, names)
    rest = np.setdiff1d(np.arange(len(names)), np.concatenate(positions))
    empty = [i for i, cells in enumerate(positions) if len(cells) == 0]
    if empty:
        positions[empty[0]] = rest
    elif len(rest):
        raise DataError(
            f"`external_indexing` leaves out {len(rest):,} of {len(names):,} cells, the first of "
            f"them {str(names[rest[0]])!r} (position {rest[0]}).",
            remedy="add them to one of the three sets, or leave the last set out of the list: it "
            "then gets all other cells.",
        )
    return positions


def check_sizes(train_size: Any, validation_size: Any) -> None:
    """Raise :class:`DataError` for shares of the cells that cannot be.

    Parameters
    ----------
    train_size, validation_size
        Shares of the cells to train and to validate with; None for 0.9 and for the rest.
    """
    for name, size, least, most in (
        ("train_size", train_size, np.nextafter(0, 1), 1.0),
        ("validation_size", validation_size, 0.0, np.nextafter(1, 0)),
    ):
        if size is not None and not (is_number(size) and least <= size <= most):
            raise DataError(
                f"`{name}` is {size!r}, which is no share of the cells: a number between 0 and 1.",
                remedy=f"model.train({name}={SIZES[name]})",
            )
    share = SIZES["train_size"] if train_size is None else train_size
    if share + (validation_size or 0) > 1 + ROUNDING:
        raise DataError(
            f"`train_size` ({share}) and `validation_size` ({validation_size}) are more than all "
            "cells together.",
            remedy=f"model.train(train_size={1 - validation_size:.4g}, "
            f"validation_size={validation_size})",
        )


def _sets(external_indexing: Any) -> list[Any]:
    """Three sets, None in the place of those that were left out."""
    one = isinstance(external_indexing, np.ndarray) and external_indexing.dtype != object
    if not isinstance(external_indexing, list | tuple | np.ndarray) or one:
        problem = f"`external_indexing` is a {type(external_indexing).__name__}"
    elif len(external_indexing) not in (1, 2, 3):
        problem = f"`external_indexing` is a list of {len(external_indexing):,}"
    elif any(isinstance(cells, str) or not _has_length(cells) for cells in external_indexing):
        problem = "`external_indexing` has single cells for sets"
    else:
        return [*external_indexing, None, None][:3]
    raise DataError(
        f"{problem}; it must be a list of one to three sets of cells: those to train on, to "
        "validate with, and to test with.",
        remedy=f"{EXAMPLE}, or [training] alone: all other cells then validate.",
    )


def _has_length(cells: Any) -> bool:
    return cells is None or hasattr(cells, "__len__")


def _is_mask_of_none(cells: NDArray[Any], n_cells: int) -> bool:
    return cells.dtype.kind == "b" and len(cells) == n_cells and not cells.any()


def _positions(cells: Any, i: int, names: pd.Index) -> NDArray[np.integer]:
    if cells is None or len(cells) == 0 or _is_mask_of_none(np.asarray(cells), len(names)):
        return np.array([], dtype=np.int64)
    argument = f"external_indexing[{i}]"
    positions = cell_positions(cells, names, argument)
    unique, counts = np.unique(positions, return_counts=True)
    if len(unique) < len(positions):
        twice = unique[counts > 1]
        raise DataError(
            f"`{argument}`, the {SETS[i]} set, has {len(twice):,} cells more than once, the first "
            f"of them {str(names[twice[0]])!r} (position {twice[0]}).",
            remedy=f"take each cell once, np.unique({SETS[i]}).",
        )
    return positions


def _check_apart(positions: list[NDArray[np.integer]], names: pd.Index) -> None:
    for i in range(3):
        for j in range(i + 1, 3):
            both = np.intersect1d(positions[i], positions[j])
            if len(both):
                raise DataError(
                    f"`external_indexing` has {len(both):,} cells both in the {SETS[i]} and in "
                    f"the {SETS[j]} set, the first of them {str(names[both[0]])!r} (position "
                    f"{both[0]}).",
                    remedy=f"leave them out of one, {SETS[j]} = np.setdiff1d({SETS[j]}, "
                    f"{SETS[i]}) of positions.",
                )
