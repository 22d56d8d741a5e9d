"""Text files that a user names: of one suffix, written whole or not at all."""

from __future__ import annotations

from os import PathLike

from lucidvi.checks import check_suffix
from lucidvi.errors import FileError
from lucidvi.files._atomic import written_whole


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
    path = check_suffix(path, suffix)
    try:
        with written_whole(path.parent, path.name) as folder:
            (folder / path.name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(
            f"`path` is {str(path)!r}, which cannot be written: {error.strerror}.",
            remedy="Name a file in a folder that you may write to.",
        ) from error
