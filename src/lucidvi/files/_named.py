"""Single files that a user names: of one suffix, written whole or not at all."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucidvi.checks import check_suffix
from lucidvi.errors import FileError
from lucidvi.files._atomic import written_whole
from lucidvi.files._whole import check_archive

#: What numpy and the archive that it reads raise of damaged files.
BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
#: Remedy where there is no such file.
NAME_IT = "Name the one that was saved."
#: Suffix of a file of arrays.
ARRAYS = ".npz"


def write_text(path: str | PathLike[str], suffix: str, text: str) -> None:
    """Write a text file whole or not at all.

    Parameters
    ----------
    path
        File to write; an existing one is replaced.
    suffix
        What its name has to end in, such as ``".json"``.
    text
        What it holds, written as UTF-8.

    Raises
    ------
    lucidvi.errors.FileError
        If it is named otherwise or cannot be written.
    """
    with _written(path, suffix) as file:
        file.write_text(text, encoding="utf-8")


def write_arrays(path: str | PathLike[str], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays by name, compressed, whole or not at all.

    Parameters
    ----------
    path
        File to write, ``.npz``; an existing one is replaced.
    arrays
        Numbers and texts; no objects, which could not be read without running code.

    Raises
    ------
    lucidvi.errors.FileError
        If it is named otherwise or cannot be written.
    """
    with _written(path, ARRAYS) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: str | PathLike[str]) -> dict[str, NDArray[np.generic]]:
    """Read what :func:`write_arrays` wrote, without running anything.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    lucidvi.errors.FileError
        If there is none, or it holds something else or is damaged.
    """
    path = check_suffix(path, ARRAYS)
    try:
        with path.open("rb") as file:
            saved = np.load(file, allow_pickle=False)
            if isinstance(saved, np.ndarray):
                raise ValueError("it is one array, without a name")
            check_archive(path)
            arrays = {name: saved[name] for name in saved.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("not all of its members are arrays")
            return arrays
    except FileNotFoundError:
        raise FileError(f"There is no file {str(path)!r}.", remedy=NAME_IT) from None
    except BROKEN as error:
        raise FileError(
            f"{str(path)!r} cannot be read: {error}.",
            remedy="Save it again; the file is damaged, or of another kind.",
        ) from error


@contextmanager
def _written(path: str | PathLike[str], suffix: str) -> Iterator[Path]:
    """Yield a place whose file goes to ``path`` when the body ends."""
    path = check_suffix(path, suffix)
    try:
        with written_whole(path.parent, path.name) as folder:
            yield folder / path.name
    except OSError as error:
        raise FileError(
            f"`path` is {str(path)!r}, which cannot be written: {error.strerror}.",
            remedy="Name a file in a folder that you may write to.",
        ) from error
