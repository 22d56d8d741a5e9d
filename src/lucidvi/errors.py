"""What can go wrong for a user: each error says what was found, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice


class LucidVIError(Exception):
    """Base of all errors that LucidVI raises on purpose.

    Parameters
    ----------
    problem
        The argument, the value found and the place, in whole sentences.
    remedy
        What to do about it, where possible as a line of code to paste.
    """

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\nRemedy: {self.remedy}"

    def __reduce__(self) -> tuple[partial[LucidVIError], tuple[()]]:
        # Exceptions pickle their positional arguments alone; worker processes send them pickled.
        return partial(type(self), self.problem, remedy=self.remedy), ()


class DataError(LucidVIError, ValueError):
    """The data, or what was said about them, cannot be modelled as they are."""


class MissingKeyError(LucidVIError, KeyError):
    """A named layer or column does not exist."""


class GeneMismatchError(DataError):
    """The data lack genes of the model."""


class UnknownGeneError(MissingKeyError, DataError):
    """A list of genes names some that the model does not have."""


class ModelTypeError(LucidVIError, TypeError):
    """A model is of a class that cannot be used here."""


class UnknownModeError(LucidVIError, NotImplementedError):
    """A method has no such mode."""


class MissingPackageError(LucidVIError, ImportError):
    """A package that only some functions need is not installed."""


class FileError(LucidVIError, ValueError):
    """A file cannot be written or read."""


class UnwritableError(FileError, OSError):
    """A place cannot be written to."""


class UntrustedFileError(FileError):
    """A file holds more than data, so that reading it could run code."""


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """Return the first few names, quoted, for a message."""
    names = iter(names)
    text = ", ".join(repr(str(name)) for name in islice(names, limit))
    return text if next(names, None) is None else f"{text}, ..."


class TrainingError(LucidVIError, RuntimeError):
    """The training had to stop."""
