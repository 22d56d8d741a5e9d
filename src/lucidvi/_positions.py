"""Positions of the cells and genes that an argument selects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lucidvi._kinds import shown
from lucidvi.checks import did_you_mean
from lucidvi.errors import DataError, MissingKeyError, first_few

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cell_positions(
    indices: Any, names: pd.Index, argument: str = "indices"
) -> NDArray[np.integer]:
    """Return the positions of chosen cells, in the order in which they were chosen.

    Parameters
    ----------
    indices
        Positions (negative ones count from the end), a boolean mask of all cells, a slice, or
        names of cells; None for all. A cell may be chosen several times.
    names
        Names of all cells, ``adata.obs_names``.
    argument
        How the argument is called in an error.

    Raises
    ------
    lucidvi.errors.DataError
        If no cell is chosen, a mask is of another length, a position or a name does not exist, or
        a name is that of several cells.
    """
    if indices is None:
        return np.arange(len(names))
    if isinstance(indices, slice):
        return _not_empty(np.arange(len(names))[indices], names, argument)
    selection = np.atleast_1d(np.asarray(as_sequence(indices, argument)))
    if selection.size == 0:
        raise DataError(
            f"`{argument}` is empty: it chooses none of the {len(names):,} cells.",
            remedy=f"give at least one cell, or `{argument}=None` for all.",
        )
    if selection.ndim != 1:
        raise DataError(
            f"`{argument}` is an array of shape {selection.shape}.",
            remedy=f"{argument}=np.ravel({argument})",
        )
    if _is_mask(selection):
        return _not_empty(_from_mask(selection, names, argument), names, argument)
    if selection.dtype.kind in "OSUT":
        return _from_names(selection, names, argument)
    return _not_empty(_from_numbers(selection, names, argument), names, argument)


def as_sequence(values: Any, argument: str) -> Any:
    """Return what has an order; raise :class:`DataError` for anything else.

    Parameters
    ----------
    values
        What may be a list, an array, a column of pandas, or one value of these.
    argument
        How the argument is called in an error.
    """
    if isinstance(values, str | int | np.integer | np.bool_):
        return [values]
    if isinstance(values, list | tuple | range) or (
        hasattr(values, "__array__") and np.ndim(values) > 0
    ):
        return values
    raise DataError(
        f"`{argument}` is {shown(values)}, which is no list of names or positions.",
        remedy=f"{argument}=list({argument}), in an order that you choose, or None for all.",
    )


def _is_mask(selection: NDArray[Any]) -> bool:
    is_object = selection.dtype.kind == "O"
    return selection.dtype == bool or (
        is_object and all(isinstance(value, bool | np.bool_) for value in selection)
    )


def _from_mask(mask: NDArray[Any], names: pd.Index, argument: str) -> NDArray[np.integer]:
    if len(mask) != len(names):
        raise DataError(
            f"`{argument}` is a mask of {len(mask):,} values, but there are {len(names):,} cells.",
            remedy="give a mask with one value a cell, in the order of `adata.obs_names`.",
        )
    return np.flatnonzero(mask.astype(bool))


def _from_names(selection: NDArray[Any], names: pd.Index, argument: str) -> NDArray[np.integer]:
    if names.is_unique:
        positions = names.get_indexer(pd.Index(selection, dtype=names.dtype))
        if (positions >= 0).all():
            return positions
        missing = selection[positions < 0]
    else:
        repeated = names[names.duplicated()]
        ambiguous = [name for name in selection if name in repeated]
        if ambiguous:
            raise DataError(
                f"`{argument}` names {ambiguous[0]!s}, which several cells are called.",
                remedy="give positions, or first `adata.obs_names_make_unique()`.",
            )
        lookup = pd.Series(np.arange(len(names)), index=names)
        missing = [name for name in selection if name not in lookup.index]
        if not missing:
            return lookup.loc[list(selection)].to_numpy()
    raise DataError(
        f"`{argument}` names {len(missing):,} that are no cells of the AnnData: "
        f"{first_few(missing)}.",
        remedy=did_you_mean(
            missing[0], list(names[:10_000]), "take names of `adata.obs_names`, or positions."
        ),
    )


def _from_numbers(selection: NDArray[Any], names: pd.Index, argument: str) -> NDArray[np.integer]:
    if selection.dtype.kind not in "iu":
        raise DataError(
            f"`{argument}` has dtype {selection.dtype} (first value: {selection[0]}).",
            remedy="give whole numbers, a boolean mask of all cells, or names.",
        )
    n = len(names)
    if int(selection.min()) < -n or int(selection.max()) >= n:
        worst = int(selection.max()) if int(selection.max()) >= n else int(selection.min())
        raise DataError(
            f"`{argument}` has position {worst}, but there are {n:,} cells.",
            remedy=f"give positions from 0 to {n - 1}.",
        )
    return selection.astype(np.int64) % n


def _not_empty(
    positions: NDArray[np.integer], names: pd.Index, argument: str
) -> NDArray[np.integer]:
    if positions.size == 0:
        raise DataError(
            f"`{argument}` chooses none of the {len(names):,} cells.",
            remedy=f"give at least one cell, or `{argument}=None` for all.",
        )
    return positions


def name_positions(
    selection: Any, names: pd.Index, argument: str, what: str = "genes of the model"
) -> NDArray[np.integer]:
    """Return the positions of chosen names, in the order in which they were chosen.

    Parameters
    ----------
    selection
        Names, or a boolean mask of all names; None for all.
    names
        All names, unique.
    argument
        How the argument is called in an error.
    what
        What the names are of, in an error.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If a name does not exist; the nearest ones are named.
    lucidvi.errors.DataError
        If none is chosen, or a mask is of another length.
    """
    if selection is None:
        return np.arange(len(names))
    if isinstance(selection, str):
        selection = [selection]
    chosen = list(as_sequence(selection, argument))
    selection = np.empty(len(chosen), dtype=object)
    selection[:] = chosen
    if selection.size == 0 or selection.ndim != 1:
        raise DataError(
            f"`{argument}` has shape {selection.shape}: it chooses none of the {what}.",
            remedy=f"give a list of names, or `{argument}=None` for all.",
        )
    if _is_mask(selection):
        if len(selection) == len(names) and selection.any():
            return np.flatnonzero(selection.astype(bool))
        raise DataError(
            f"`{argument}` is a mask of {len(selection):,} values, {int(selection.sum())} of them "
            f"set, for {len(names):,} {what}.",
            remedy="give one value a gene, at least one of them True.",
        )
    positions = names.astype(str).get_indexer(pd.Index(selection).astype(str))
    if (positions < 0).any():
        missing = selection[positions < 0]
        raise MissingKeyError(
            f"`{argument}` names {len(missing):,} that are no {what}: {first_few(missing)}.",
            remedy=did_you_mean(
                missing[0], list(names), f"`model.get_var_names()` lists the {what}."
            ),
        )
    return positions
