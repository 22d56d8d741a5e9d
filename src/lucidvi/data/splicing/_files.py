"""Small files that tools write beside each other: lists of names, and matrices as text."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import scipy.io

from lucidvi.checks import listed
from lucidvi.errors import FileError

#: What Python, NumPy and SciPy raise for a file that is damaged, or of another kind.
DAMAGE = (OSError, EOFError, ValueError, zlib.error)


def existing(folder: Path, *names: str) -> Path | None:
    """Return the first file of a folder that exists, compressed or not; None if there is none.

    Parameters
    ----------
    folder
        The folder, which may be missing.
    *names
        Names of files, without ``.gz``.
    """
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def needed(folder: Path, *names: str) -> Path:
    """Return the first file of a folder that exists; raise :class:`FileError` for none.

    Parameters
    ----------
    folder, names
        See :func:`existing`.
    """
    path = existing(folder, *names)
    if path is None:
        raise FileError(
            f"{folder} has no file {names[0]!r}; it has {contents(folder)}.",
            remedy="Copy the whole folder that the tool wrote, or count again.",
        )
    return path


def contents(folder: Path) -> str:
    """Return the names of what is in a folder, quoted, for a message."""
    return listed(sorted(path.name for path in folder.iterdir()))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise :class:`FileError` where a file turns out to be damaged, or of another kind."""
    try:
        yield
    except DAMAGE as error:
        raise FileError(
            f"{path} cannot be read: {error}",
            remedy="Copy it again, or count again: it was cut off, or is of another kind.",
        ) from error


def lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty, as they are written."""
    with readable(path), _opened(path) as file:
        return [line for line in (line.rstrip("\n") for line in file) if line.strip()]


def matrix(path: Path) -> Any:
    """Return a matrix of the Matrix Market format, which may store zeros."""
    with readable(path):
        return scipy.io.mmread(path, spmatrix=False)


def table_of_genes(names: list[str], ids: list[str] | None) -> pd.DataFrame:
    """Return ``var`` with the names of genes and, if they are known, their identifiers."""
    columns = {} if ids is None else {"gene_ids": ids}
    return pd.DataFrame(columns, index=pd.Index(names, dtype=object))


def table_of_cells(barcodes: list[str]) -> pd.DataFrame:
    """Return ``obs`` with the names of cells, and no columns."""
    return pd.DataFrame(index=pd.Index(barcodes, dtype=object))


def head_of_matrix(path: Path) -> tuple[int, list[str], int]:
    """Return how a matrix of the Matrix Market format begins, also one of several values.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The number of lines before the first entry; numbers of rows, columns and entries, as text; and
    how many numbers the first entry has, 0 if there is none.
    """
    with readable(path), _opened(path) as file:
        n_lines, line = 1, file.readline()
        while line.startswith("%"):
            n_lines, line = n_lines + 1, file.readline()
        return n_lines, line.split(), len(file.readline().split())


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
