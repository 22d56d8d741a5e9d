"""What can go wrong for a user: each error says what was found, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

#: How NumPy shows one value, such as ``np.str_('A2M')``, ``np.float32(0.5)`` and ``np.True_``.
NUMPY_VALUE = re.compile(
    r"\bnp\.(?:str_|bytes_|u?int\d+|u?longlong|float\d+|complex\d+|c?longdouble|"
    r"datetime64|timedelta64)\((?P<value>b?'(?:[^'\\]|\\.)*'|b?\"(?:[^\"\\]|\\.)*\"|"
    r"[+-]?(?:\d[\w.+-]*|nan|inf))"
    r"(?:,'\w+')?\)"
    r"|\bnp\.(?P<boolean>True|False)_\b"
)


class LucidVIError(Exception):
    """Base of all errors that LucidVI raises on purpose.

    Parameters
    ----------
    problem
        The argument, the value found and the place, in whole sentences.
    remedy
        What to do about it, where possible as a line of code to paste.
    code
        The lines of code in the remedy, each of which works when it is pasted alone: code that
        mends the data, or arguments to give in place of those that were given.
    counts_in
        Where counts are that were not found where they were read, as an argument ``layer`` names
        it: a layer, ``"raw"`` or ``"X"``.
    """

    def __init__(
        self, problem: str, *, remedy: str, code: Iterable[str] = (), counts_in: Iterable[str] = ()
    ) -> None:
        problem, remedy = plain(problem), plain(remedy)
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.code = tuple(plain(line) for line in code)
        self.counts_in = tuple(counts_in)

    def __str__(self) -> str:
        return f"{self.problem}\nRemedy: {self.remedy}"

    def __reduce__(self) -> tuple[partial[LucidVIError], tuple[()]]:
        # Exceptions pickle their positional arguments alone; worker processes send them pickled.
        told: dict[str, Any] = {
            "remedy": self.remedy,
            "code": self.code,
            "counts_in": self.counts_in,
        }
        return partial(type(self), self.problem, **told), ()


class DataError(LucidVIError, ValueError):
    """The data, or what was said about them, cannot be modelled as they are."""


class MissingKeyError(LucidVIError, KeyError):
    """A named layer or column does not exist."""


class GeneMismatchError(DataError):
    """The data lack genes of the model."""


class UnknownGeneError(MissingKeyError, DataError):
    """A list of genes names some that the model does not have."""


class ArgumentError(LucidVIError, TypeError):
    """A function was given an argument that it does not take."""


class ModelTypeError(LucidVIError, TypeError):
    """A model is of a class that cannot be used here."""


class UnknownModeError(LucidVIError, NotImplementedError):
    """A method has no such mode."""


class TrainingError(LucidVIError, RuntimeError):
    """The training had to stop."""


class LostWorkerError(LucidVIError, RuntimeError):
    """A process that loads data ended."""


class MissingPackageError(LucidVIError, ImportError):
    """A package that only some functions need is not installed."""


class FileError(LucidVIError, ValueError):
    """A file cannot be written or read."""


class UnwritableError(FileError, OSError):
    """A place cannot be written to."""


class UntrustedFileError(FileError):
    """A file holds more than data, so that reading it could run code."""


def plain(text: str) -> str:
    """Return a text with NumPy's values as Python shows them: ``'A2M'``, ``0.5``, ``True``."""
    return NUMPY_VALUE.sub(lambda match: match["value"] or match["boolean"], str(text))


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """Return the first few names, quoted, for a message."""
    names = iter(names)
    text = ", ".join(repr(str(name)) for name in islice(names, limit))
    return text if next(names, None) is None else f"{text}, ..."
