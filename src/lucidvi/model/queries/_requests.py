"""What a model may be asked with, checked before it answers: data, cells, genes, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi._positions import as_sequence, cell_positions, name_positions
from lucidvi.checks import (
    SHORT_LIST,
    listed,
    nearest,
    user_columns,
)
from lucidvi.data import plain_category
from lucidvi.errors import DataError, MissingKeyError, UnknownGeneError
from lucidvi.model.queries._signature import by_name


def gene_positions(gene_list: Any, names: pd.Index) -> NDArray[np.integer]:
    """Return the positions of the genes of a ``gene_list``, in its order.

    Parameters
    ----------
    gene_list
        Names, or a boolean mask of the model's genes; None for all.
    names
        Names of the model's genes.

    Raises
    ------
    lucidvi.errors.UnknownGeneError
        If a gene is none of the model's; the nearest ones are named.
    lucidvi.errors.DataError
        If none is chosen.
    """
    try:
        return name_positions(gene_list, names, "gene_list")
    except MissingKeyError as error:
        genes = [gene_list] if isinstance(gene_list, str) else gene_list
        none = not pd.Index(genes).astype(str).isin(names.astype(str)).any()
        problem = "None of the provided genes is the model's. " if none else ""
        raise UnknownGeneError(problem + error.problem, remedy=error.remedy) from None


def batch_categories(batches: Any, registry: Any, argument: str) -> list[Any]:
    """Return the model's own names of some batches.

    Parameters
    ----------
    batches
        A batch, or several; None among them stands for each cell's own.
    registry
        State of the batches in the model's registry.
    argument
        How the argument is called.

    Raises
    ------
    lucidvi.errors.DataError
        If the model does not know a batch; the nearest ones are named.
    """
    is_one = isinstance(batches, str) or not isinstance(batches, Iterable) or not np.ndim(batches)  # type: ignore[arg-type]
    names = [batches] if is_one else list(as_sequence(batches, argument))
    if not names:
        raise DataError(
            f"`{argument}` is empty: it names no batch.",
            remedy=f"{argument}=None, for each cell's own batch.",
        )
    return [_one_batch(name, list(registry.categorical_mapping), argument) for name in names]


def _one_batch(name: Any, categories: Sequence[Any], argument: str) -> Any:
    """Return the category; 1 is 1.0, but "1" may be meant for another one, or for its number."""
    matches = [batch for batch in categories if name is not None and equal(batch, name)]
    if name is None or matches:
        return matches[0] if matches else None
    raise DataError(
        f'`{argument}` is {plain_category(name)!r}: "{name}" not a valid batch category. '
        f"The model has {as_code(categories)}.",
        remedy=spelled_like(name, categories, argument) or f"{argument}=None, or one of these.",
    )


def spelled_like(name: Any, values: Sequence[Any], argument: str) -> str:
    """Return a remedy that names the values spelled most like a name; empty if there are none.

    Parameters
    ----------
    name
        What is none of the values.
    values
        Values that there are, of any type.
    argument
        How the argument is called.
    """
    by_name = {str(value): value for value in values}
    names = [str(name)] if str(name) in by_name else nearest(name, list(by_name))
    code = " or ".join(f"{argument}={plain_category(by_name[match])!r}" for match in names)
    return f"did you mean {code}?" if code else ""


def as_code(values: Sequence[Any]) -> str:
    """Return the first values as they are written in code."""
    names = ", ".join(repr(plain_category(value)) for value in values[:SHORT_LIST])
    return f"{names}, ..." if len(values) > SHORT_LIST else names


def equal(value: Any, other: Any) -> bool:
    """Whether two values are equal; what cannot be compared is not."""
    try:
        return bool(value == other)
    except (TypeError, ValueError):
        return False


#: Column of positions that a query of ``obs`` is made with.
POSITION = "_lucidvi_position"


def cells_of(
    choice: Any, adata: Any, argument: str, *, may_be_query: bool = False
) -> NDArray[np.integer]:
    """Return the positions of chosen cells, see :func:`~lucidvi._positions.cell_positions`.

    Parameters
    ----------
    choice
        Positions, names, a mask, or with ``may_be_query`` a string for ``adata.obs.query``.
    adata
        The cells.
    argument
        How the argument is called.
    may_be_query
        Take a string for a query.
    """
    if not (may_be_query and isinstance(choice, str)):
        return cell_positions(choice, adata.obs_names, argument)
    # By position: scvi-tools joins on names, which several cells may share.
    table = adata.obs.assign(**{POSITION: np.arange(len(adata.obs_names))})
    try:
        positions = table.query(choice)[POSITION].to_numpy()
    except Exception as error:
        raise DataError(
            f"`{argument}` is {choice!r}, which is no query of adata.obs: {error}",
            remedy=f'adata.obs.query("...") says what a query is; there are the columns '
            f"{listed(user_columns(adata.obs.columns))}. Names of cells come as a list.",
        ) from error
    if positions.size == 0:
        raise DataError(
            f"`{argument}` is {choice!r}, which holds for none of the {len(table):,} cells.",
            remedy="give a query of adata.obs that some cells fulfil.",
        )
    return positions


def bound(
    method: Callable[..., Any], model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call of a method of scvi-tools by name, without the model."""
    return by_name(signature(method), model, args, kwargs)
