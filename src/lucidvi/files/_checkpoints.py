"""Checkpoints of a training: plain data, the newest two of a folder, each written whole."""

from __future__ import annotations

import logging
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lucidvi.errors import FileError, UntrustedFileError
from lucidvi.files._atomic import writable, written_whole
from lucidvi.files._reader import read_pickle
from lucidvi.files._values import plain_value

logger = logging.getLogger(__name__)

#: Names of the files, by the number of updates done.
NAME, PATTERN = "checkpoint-{:012d}.pt", re.compile(r"checkpoint-(\d{12})\.pt")
#: What a write that was killed leaves.
LEFT_OVER = ".checkpoint-*.tmp"
#: Number of the format, and the key that holds it.
LAYOUT_KEY, LAYOUT = "lucidvi_checkpoint", 1


class Checkpoints:
    """The checkpoints in a folder.

    A checkpoint is written beside its place and renamed, and the one before it is deleted when
    the next is whole: however a process ends, one can be read.

    Parameters
    ----------
    folder
        Where they are; made when the first is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._before: int | None = None

    def __bool__(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self._numbers())

    def write(self, n_steps: int, values: Mapping[str, Any]) -> None:
        """Write a checkpoint, and delete all but it and the one before.

        Parameters
        ----------
        n_steps
            Number of updates done.
        values
            Plain values, tensors and arrays by name.

        Raises
        ------
        lucidvi.errors.FileError
            If it cannot be written, or a value is not plain data. The ones before are still there.
        """
        name = NAME.format(n_steps)
        plain = {name: plain_value(value, name) for name, value in values.items()}
        path = self.folder / name
        with writable(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with written_whole(self.folder, name) as stage:
                save_tensors({LAYOUT_KEY: LAYOUT, **plain}, stage / name)
        self._delete_all_but(n_steps, self._before)
        self._before = n_steps

    def read(self) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole, or None if there is none at all.

        Nothing in a file is run. Of one that is damaged a warning says so.

        Raises
        ------
        lucidvi.errors.FileError
            If there are some, and all are damaged; or if one is of another version.
        lucidvi.errors.UntrustedFileError
            If one holds more than data.
        """
        numbers, damaged = self._numbers(), []
        for n_steps in numbers:
            path = self.folder / NAME.format(n_steps)
            try:
                values = read_tensors(path)
            except UntrustedFileError:
                raise
            except FileError as error:
                damaged.append(error.problem)
                continue
            if damaged:
                logger.warning(f"{damaged[0]} The checkpoint before it is taken, {path.name}.")
            self._before = n_steps
            return values
        if not numbers:
            return None
        raise FileError(
            f"No checkpoint in {self.folder} can be read: {' '.join(damaged)}",
            remedy=f"start again in another folder, or delete it: rm -r {self.folder}",
        )

    def _numbers(self) -> list[int]:
        """Numbers of updates after which there are checkpoints, the largest first."""
        if not self.folder.is_dir():
            return []
        found = (PATTERN.fullmatch(name) for name in os.listdir(self.folder))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def _delete_all_but(self, *kept: int | None) -> None:
        for n_steps in self._numbers():
            if n_steps not in kept:
                (self.folder / NAME.format(n_steps)).unlink(missing_ok=True)
        for stage in self.folder.glob(LEFT_OVER):
            shutil.rmtree(stage, ignore_errors=True)


def save_tensors(values: Any, path: Path, **kwargs: Any) -> None:
    """Write values by :func:`torch.save`; a disk that is full is an :class:`OSError`.

    Torch itself says so of no file that it opens, but of one that Python has opened.

    Parameters
    ----------
    values
        Plain values and tensors.
    path
        Where to.
    **kwargs
        See :func:`torch.save`.
    """
    with path.open("wb") as file:
        try:
            torch.save(values, file, **kwargs)
        except RuntimeError as error:
            cause = error.__context__
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            if cause is None:
                raise
            raise cause from None


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a checkpoint into the memory of the computer, each part compared with its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise FileError(f"{path} is damaged: {error}.", remedy=DELETE) from error
    if part is not None:
        raise FileError(f"{path} is damaged, in {part}.", remedy=DELETE)
    values = read_pickle(str(path), "cpu")
    layout = values.get(LAYOUT_KEY) if isinstance(values, dict) else None
    if layout != LAYOUT:
        holds = "no checkpoint" if layout is None else f"a checkpoint of layout {layout}"
        raise FileError(f"{path} holds {holds}; this version reads {LAYOUT}.", remedy=DELETE)
    return values


DELETE = "delete it."
