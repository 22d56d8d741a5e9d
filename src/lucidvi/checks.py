"""Whether arguments are what they should be: choices, numbers, names, columns."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucidvi.errors import ArgumentError, DataError, FileError, MissingKeyError, first_few

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: Most names that an error lists in full.
SHORT_LIST = 20
#: How the names of columns begin that scvi-tools, and joined modalities, have in ``obs``.
OF_PACKAGES = ("_scvi", "lucidvi_panel_")


def nearest(name: object, names: Iterable[object]) -> list[str]:
    """Return the existing names that are spelled most like a name, whatever their case.

    Parameters
    ----------
    name
        The name that does not exist.
    names
        Names that exist.
    """
    by_lower_case = {str(existing).lower(): str(existing) for existing in names}
    matches = difflib.get_close_matches(str(name).lower(), by_lower_case)
    return [by_lower_case[match] for match in matches]


def did_you_mean(name: object, names: Sequence[object], otherwise: str) -> str:
    """Return a remedy for a name that does not exist.

    Parameters
    ----------
    name, names
        See :func:`nearest`.
    otherwise
        The remedy where no name comes near.
    """
    close = nearest(name, names)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else otherwise


def check_choice(name: str, value: object, choices: Iterable[str], others: str = "") -> None:
    """Raise :class:`DataError` for a value of an argument that is none of its choices.

    Parameters
    ----------
    name
        The argument.
    value
        Value of the argument.
    choices
        The values that it can have.
    others
        What else it can be: ``"an `Objective`"``.
    """
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        alternatives = ", ".join(map(repr, choices)) + (f", or {others}" if others else "")
        close = [f"{name}={match!r}" for match in nearest(value, choices)]
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise DataError(
            f"`{name}` is {value!r}; it must be one of {alternatives}.",
            remedy=f"{meant}Use one of {alternatives}.",
        )


def listed(names: Iterable[object]) -> str:
    """Return the names that exist, quoted, for a message: at most twenty; ``"none"`` of none."""
    return first_few(names, SHORT_LIST) or "none"


def is_number(value: object) -> bool:
    """Return whether a value is one finite number, and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_whole(name: str, value: object, *, least: int = 0) -> None:
    """Raise :class:`DataError` unless an argument is a whole number.

    Parameters
    ----------
    name
        The argument.
    value
        Value of the argument.
    least
        The smallest value that it can have.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least:  # type: ignore[operator]
        raise DataError(
            f"`{name}` is {value!r}.", remedy=f"Give a whole number, at least {least}."
        )


def check_suffix(path: str | PathLike[str], suffix: str) -> Path:
    """Return the path of a file to write; raise :class:`FileError` for another suffix."""
    path = Path(path).expanduser()
    if path.suffix != suffix:
        raise FileError(
            f"`path` is {str(path)!r}, which does not end in {suffix}.",
            remedy=f"Name it {str(path.with_suffix(suffix)) if path.name else suffix!r}.",
        )
    return path


def check_share(name: str, value: Any, *, between: bool = False) -> None:
    """Raise :class:`DataError` unless an argument is a share.

    Parameters
    ----------
    name
        The argument.
    value
        Value of the argument.
    between
        Whether 0 and 1 themselves are excluded.
    """
    if not (is_number(value) and (0 < value < 1 if between else 0 <= value <= 1)):
        remedy = "Give a number between 0 and 1." if between else "Give a number from 0 to 1."
        raise DataError(f"`{name}` is {value!r}.", remedy=remedy)


def positive_numbers(name: str, value: Any, n_cells: int) -> NDArray[np.float64]:
    """Return a positive number for each cell.

    Parameters
    ----------
    name
        The argument.
    value
        One number for all cells, or one for each.
    n_cells
        How many cells there are.

    Returns
    -------
    Shape ``(n_cells,)``.

    Raises
    ------
    lucidvi.errors.DataError
        If a number is not positive or not finite, or there is not one for each cell.
    """
    import numpy as np  # here: a command that refuses an option does not wait for it

    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape not in ((), (1,), (n_cells,)):
        raise DataError(
            f"`{name}` has the shape {numbers.shape}, but there are {n_cells:,} cells.",
            remedy=f"Give one number, or an array of shape ({n_cells},).",
        )
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        first = int(np.argmax(bad))
        place = f" in {bad.sum():,} of {n_cells:,} cells, {first} first" if bad.ndim else ""
        wrong = numbers[first].item() if bad.ndim else value
        raise DataError(f"`{name}` is {wrong!r}{place}.", remedy="Give positive, finite numbers.")
    return np.full(n_cells, numbers)


def cell_times(time: Any, n_cells: int, names: Any = None) -> NDArray[np.float64]:
    """Return the time of each cell as a number.

    Parameters
    ----------
    time
        Numbers, or categories that are numbers.
    n_cells
        How many cells there are.
    names
        Their names, for errors.

    Raises
    ------
    lucidvi.errors.DataError
        If they are texts, of which the order and the distances are not known, or not finite.
    """
    import numpy as np
    import pandas as pd

    values = time.array if isinstance(time, pd.Series) else np.asarray(time)
    if values.shape != (n_cells,):
        raise DataError(
            f"`time` has the shape {values.shape}, and there are {n_cells:,} cells.",
            remedy="give one for each cell.",
        )
    if isinstance(time, pd.Series) and names is not None:
        own, other = time.index, pd.Index(names)
        named = not any(isinstance(index, pd.RangeIndex) for index in (own, other))
        if named and not own.equals(other):
            raise DataError(
                "`time` has other names of cells than the states, or another order.",
                remedy="time = time.loc[names], with the names of the states' cells.",
            )
    series = pd.Series(values)
    if series.dtype.kind in "mM":
        raise DataError(
            f"`time` is of dates or durations, {series.dtype}, which have no unit.",
            remedy="say it: time = (time - time.min()) / pd.Timedelta('1D'), or of durations "
            "time / pd.Timedelta('1D').",
        )
    try:
        times = series.astype(np.float64).to_numpy()
    except (TypeError, ValueError):
        found = series.dropna().unique()
        example = ", ".join(f"{name!r}: {i}" for i, name in enumerate(found[:2]))
        raise DataError(
            f"`time` is no number, but {listed(found)}, whose order and distances are not known.",
            remedy=f"say them: time = pd.Series(time).map({{{example}, ...}}).",
        ) from None
    bad = ~np.isfinite(times)
    if bad.any():
        raise DataError(
            f"`time` is not known of {bad.sum():,} of {n_cells:,} cells, {first_of(bad, names)}.",
            remedy="leave these cells out.",
        )
    return times


def times_from(name: str, times: Any, begins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times at which cells are wanted that can be followed from when they begin.

    Parameters
    ----------
    name
        The argument.
    times
        One time, or several that rise or fall.
    begins
        When the cells begin, shape ``(n_cells,)``.

    Returns
    -------
    Shape ``(n_times,)``.

    Raises
    ------
    lucidvi.errors.DataError
        If a time is not finite, or several neither rise from the last beginning on, nor fall from
        the first.
    """
    import numpy as np

    try:
        wanted = np.atleast_1d(np.asarray(times, np.float64))
    except (TypeError, ValueError):
        wanted = np.array([np.nan])
    if wanted.ndim != 1 or not wanted.size or not np.isfinite(wanted).all():
        raise DataError(f"`{name}` is {times!r}.", remedy="give a finite time, or several.")
    steps, is_one = np.diff(wanted), len(wanted) == 1
    if not begins.size:
        return wanted
    rise = (steps >= 0).all() and (is_one or begins.max() <= wanted[0])
    fall = (steps <= 0).all() and (is_one or begins.min() >= wanted[0])
    if not (rise or fall):
        first, last = f"{begins.min():.12g}", f"{begins.max():.12g}"
        when = f"at {first}" if first == last else f"between {first} and {last}"
        raise DataError(
            f"`{name}` is {times!r}, and the cells begin {when}.",
            remedy="give times that rise from there on, each as late as the one before it or "
            "later, or that fall.",
        )
    return wanted


def first_of(bad: NDArray[np.bool_], names: Any = None) -> str:
    """Say which is the first cell with a fault.

    Parameters
    ----------
    bad
        Which cells have it, shape ``(n_cells,)``.
    names
        Their names; by default their numbers.
    """
    first = int(bad.argmax())
    return f"{first if names is None else repr(str(names[first]))} first"


def check_column(obs: pd.DataFrame, argument: str, key: object) -> None:
    """Raise :class:`MissingKeyError` unless ``obs`` has a column.

    Parameters
    ----------
    obs
        Columns of the cells.
    argument
        The argument that names the column.
    key
        Name of the column.
    """
    if not (isinstance(key, str) and key in obs.columns):
        columns = list(map(str, user_columns(obs.columns)))
        raise MissingKeyError(
            f"`{argument}` is {key!r}, which is no column of `adata.obs`.",
            remedy=did_you_mean(key, columns, f"there are {listed(columns)}."),
        )


def user_columns(columns: Iterable[Any]) -> list[Any]:
    """Return the names of columns, such as those of ``obs``, that no package wrote for itself."""
    return [name for name in columns if not str(name).startswith(OF_PACKAGES)]


def check_arguments(
    function: str,
    names: Iterable[str],
    accepted: Iterable[str],
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Raise :class:`~lucidvi.errors.ArgumentError` for an argument that does not exist.

    Parameters
    ----------
    function
        What was called, as it is called in an error: ``"SCVI"``, ``"`plan_kwargs`"``.
    names
        Names of the arguments in the call.
    accepted
        Names of those that exist.
    elsewhere
        Remedies for names that belong to something else, or went by another name.
    """
    accepted = sorted(accepted)
    for name in names:
        if name in accepted:
            continue
        others = ", ".join(map(repr, accepted)) or "no arguments"
        if len(accepted) > SHORT_LIST:
            others = f"{len(accepted)} others, which its documentation lists"
        remedy = (elsewhere or {}).get(name) or did_you_mean(name, accepted, f"it takes {others}.")
        raise ArgumentError(f"{function} does not take `{name}`.", remedy=remedy)


def check_keywords(
    name: str, function: Callable[..., Any], keywords: Iterable[str], *more: str
) -> None:
    """Raise :class:`~lucidvi.errors.ArgumentError` for keywords that a function does not take.

    Parameters
    ----------
    name
        How the function is called in an error.
    function
        A function, or the ``__init__`` of a class; one that takes any keyword is not checked.
    keywords
        Names of the keywords in the call.
    *more
        Further names that are accepted.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    check_arguments(name, keywords, {p.name for p in parameters} - {"self", "cls"} | {*more})
