"""When a value of a column is one of a model's categories, whatever the dtypes of the two.

Numbers and booleans are equal as in Python and NumPy, ``1 == 1.0 == True``. A text equals a number
or a boolean that it spells as Python does, ``"1"``, ``"1.0"``, ``"True"`` (pandas reads ``"TRUE"``
and ``"true"`` so, too). Two texts are equal if they are the same text, and bytes are text. What is
the same in value and kind comes first, so that a model may have both ``"1"`` and ``"1.0"``; where
that leaves several, the value is ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KINDS = {bool: "booleans", int: "integers", float: "floats", str: "text"}
#: Spellings of booleans.
TRUTH = {"True": 1, "TRUE": 1, "true": 1, "False": 0, "FALSE": 0, "false": 0}


def category_text(value: Any) -> str:
    """Return how a category is written: ``"1"`` for 1 and 1.0, ``"True"`` for True.

    Parameters
    ----------
    value
        The category. Equal numbers have one text; so have bytes and the text that they encode.
    """
    plain = _shortest(value)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return str(plain)


def category_texts(values: Any) -> NDArray[np.object_]:
    """Return the text of each value of a column, see :func:`category_text`.

    Parameters
    ----------
    values
        A column of ``obs`` or an array, of any dtype, shape ``(n,)``. What is missing is None.
    """
    codes, distinct = distinct_values(values)
    texts = np.empty(len(distinct) + 1, dtype=object)
    texts[:-1] = [category_text(value) for value in distinct]
    return texts[codes]


def distinct_values(values: Any) -> tuple[NDArray[np.integer], list[Any]]:
    """Return which distinct value each one is, and the distinct values.

    ``1`` and ``"1"`` are distinct. What is missing has the code -1.
    """
    values = readable(values)
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, used = pd.factorize(np.asarray(pd.Categorical(values).codes), use_na_sentinel=False)
        present = used >= 0
        renumbered = np.where(present, np.cumsum(present) - 1, -1)
        return renumbered[codes], _listed(values.dtype.categories.take(used[present]))
    codes, distinct = pd.factorize(values)
    return codes, _listed(distinct)


def readable(values: Any) -> Any:
    """Return a column in a dtype that pandas can sort into categories.

    It cannot do so with half precision, nor with the bytes in another order than the machine's.
    """
    if not isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        values = pd.Series(values)
    dtype = values.dtype
    if not isinstance(dtype, np.dtype):
        return values
    if dtype == np.float16:  # 0.1 is not 0.0999755859375
        return values.astype(str).astype(float)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def _listed(values: Any) -> list[Any]:
    """Return the values as scalars; numbers of NumPy's keep their precision."""
    values = getattr(values, "array", values)  # an index hands out a float32 as a float64
    is_number = isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf"
    return list(values.to_numpy() if is_number else values)


class AmbiguousError(ValueError):
    """A value equals several categories, none of which is of its own kind.

    Parameters
    ----------
    value, categories
        The value, and the categories.
    """

    def __init__(self, value: Any, categories: list[Any]) -> None:
        super().__init__(f"{value!r} equals each of {categories!r}")
        self.value, self.categories = value, categories


@dataclass(frozen=True)
class Categories:
    """Categories to look values up in.

    Parameters
    ----------
    values
        The categories, in the model's order.
    """

    values: list[Any]

    def position(self, value: Any) -> int:
        """Return the position of the category that a value equals, -1 for none.

        Raises
        ------
        AmbiguousError
            If it equals several.
        """
        plain = plain_category(value)
        if isinstance(plain, str):
            return self._of_text(plain)
        if isinstance(plain, bool | int | float):
            return self._of_number(plain, _shortest(value))
        if plain in self._others:
            return self._others[plain]
        return self._texts.get(str(plain), -1)

    def resembling(self, value: Any) -> list[int]:
        """Return positions of categories that a value without an equal may be meant for.

        Numbers that a text can be read as in other spellings (``"01"``, ``" 1"``), and texts that
        spell one number differently (``"1"`` and ``"1.0"``).
        """
        number = _read(_shortest(value))
        if number is None:
            return []
        text = plain_category(value)
        alike = [i for i, other in enumerate(self._plain) if _read(other) == number]
        if not isinstance(text, str):
            return alike
        spelled = spelled_number(text)
        return [
            i
            for i in alike
            if not isinstance(other := self._plain[i], str)
            or None is not spelled == spelled_number(other)
        ]

    @cached_property
    def _plain(self) -> list[Any]:
        return [plain_category(value) for value in self.values]

    @cached_property
    def _texts(self) -> dict[str, int]:
        return {value: i for i, value in enumerate(self._plain) if isinstance(value, str)}

    @cached_property
    def _numbers(self) -> dict[float, int]:
        return {value: i for i, value in enumerate(self._plain) if isinstance(value, int | float)}

    @cached_property
    def _rounded(self) -> dict[float, int]:
        return {_shortest(self.values[i]): i for i in self._numbers.values()}

    @cached_property
    def _spelled(self) -> dict[float, list[int]]:
        spelled: dict[float, list[int]] = {}
        for text, i in self._texts.items():
            number = spelled_number(text)
            if number is not None:
                spelled.setdefault(number, []).append(i)
        return spelled

    @cached_property
    def _others(self) -> dict[Any, int]:
        every = enumerate(self._plain)
        return {value: i for i, value in every if not isinstance(value, str | int | float)}

    @cached_property
    def _others_by_text(self) -> dict[str, int]:
        return {str(value): i for value, i in self._others.items()}

    def _of_text(self, text: str) -> int:
        if text in self._texts:
            return self._texts[text]
        number = spelled_number(text)
        if number is None:
            return self._others_by_text.get(text, -1)
        return self._numbers.get(number, self._rounded.get(number, -1))

    def _of_number(self, number: float, shortest: float) -> int:
        tables: tuple[tuple[Any, dict[Any, int]], ...] = (
            (number, self._numbers),
            (shortest, self._rounded),
            (str(shortest), self._texts),
        )
        for key, table in tables:
            if key in table:
                return table[key]
        spellings = self._spelled.get(shortest, [])
        if len(spellings) > 1:
            raise AmbiguousError(number, [self.values[i] for i in spellings])
        return spellings[0] if spellings else -1


def extended(categories: NDArray[Any], new: Iterable[Any]) -> NDArray[Any]:
    """Return categories with new ones behind them, sorted, and all of one kind.

    Parameters
    ----------
    categories
        The model's categories.
    new
        Values that equal none of them. Beside numbers they become numbers if they all are or
        spell some. Otherwise everything becomes text, unless it is of one kind.
    """
    new = [_shortest(value) for value in new]
    if not new:
        return categories.copy()
    old = [plain_category(value) for value in categories]
    read = (spelled_number(value) if isinstance(value, str) else value for value in new)
    numbers = [value for value in read if isinstance(value, int | float)]
    if len(numbers) == len(new) and all(isinstance(value, int | float) for value in old):
        return np.array([*old, *sorted({_whole(number) for number in numbers})])
    if len({type(value) for value in (*old, *new)}) > 1:
        old, new = ([category_text(value) for value in values] for values in (old, new))
    both = [*old, *sorted(set(new))]
    array = np.empty(len(both), dtype=object)
    array[:] = both
    return array


def spelled_number(text: str) -> float | None:
    """Return the number that a text spells as Python or pandas do, None if it spells none."""
    if text in TRUTH:
        return TRUTH[text]
    number = _read(text)
    if number is None:
        return None
    return number if text in (str(_whole(number)), repr(float(number))) else None


def kind_of(values: Iterable[Any]) -> str:
    """Return what values are, in words: integers, floats, booleans, text, or several of these."""
    plain = (plain_category(value) for value in values)
    return " and ".join(sorted({KINDS.get(type(value), type(value).__name__) for value in plain}))


def plain_category(value: Any) -> Any:
    """Return the value as one of Python or pandas; bytes as text."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return pd.Series([value]).iloc[0]
    if isinstance(value, bytes | np.bytes_):
        return bytes(value).decode("utf-8", errors="backslashreplace")
    if isinstance(value, str):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _shortest(value: Any) -> Any:
    """Return a plain value; of a float the one of its shortest decimals, 0.1 also of float32."""
    return float(str(value)) if isinstance(value, np.floating) else plain_category(value)


def _whole(number: float) -> float:
    """Return a number as an integer if it is one."""
    return int(number) if float(number).is_integer() else number


def _read(value: Any) -> float | None:
    """Return the number that a value is, or that its text can be read as."""
    if isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str) or "_" in value:
        return None
    text = value.strip()
    if text.capitalize() in TRUTH:
        return TRUTH[text.capitalize()]
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if number == number else None  # not NaN
    return None
