"""Arguments, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucidvi.errors import DataError, first_few

#: Most names that an error lists.
LISTED = 20


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise unless a value is a whole number of at least ``least``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise DataError(
            f"`{name}` is {value!r}.", remedy=f"Give a whole number, at least {least}."
        )


def positive(name: str, value: Any, n: int) -> NDArray[np.float64]:
    """Return a positive number for each of ``n`` cells, of one for all or of one for each."""
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape not in ((), (1,), (n,)):
        raise DataError(
            f"`{name}` has the shape {numbers.shape}, but there are {n:,} cells.",
            remedy=f"Give one number, or an array of shape ({n},).",
        )
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        where = f" in {bad.sum():,} of {n:,} cells, {np.argmax(bad)} first" if bad.ndim else ""
        found = numbers[np.argmax(bad)].item() if bad.ndim else value
        raise DataError(f"`{name}` is {found!r}{where}.", remedy="Give positive, finite numbers.")
    return np.full(n, numbers)


def listed(names: Iterable[object]) -> str:
    """Return what there is, for a message."""
    return first_few(names, LISTED) or "none"
