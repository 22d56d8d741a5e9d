"""Files that appear whole or not at all, and together."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lucidvi.errors import FileError, UnwritableError


@contextmanager
def written_whole(folder: Path, name: str, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder whose files go to ``folder`` when the body ends.

    They appear together or, if anything fails or the process is killed, not at all. A new folder
    is renamed into place. In a folder that exists one file is renamed over the old one; several
    are first renamed together, to a folder that :func:`newest` reads from and that the next save
    or load empties.

    Parameters
    ----------
    folder
        Where the files belong. Other files in it stay.
    name
        Name of the main file, which is moved last.
    replace
        Whether the folder takes the place of a file that is there.
    """
    finish(folder, name)
    is_new = not folder.is_dir()
    if os.path.lexists(folder) and is_new and not replace:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    # `mkdir` gives the permissions that the folder shall have; `tempfile` would not.
    stage = (folder.parent if is_new else folder) / f".{name}.{uuid4().hex[:12]}.tmp"
    stage.mkdir()
    try:
        yield stage
        files = sorted(stage.iterdir(), key=lambda file: file.name == name)
        for file in files:
            _flush(file)
        _flush(stage)
        _put(stage, folder, name, files)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    shutil.rmtree(stage, ignore_errors=True)
    _flush(folder.parent if is_new else folder)


def check_free(folder: Path, overwrite: bool, what: str) -> None:
    """Raise :class:`FileError` where something is that is not to be replaced.

    Parameters
    ----------
    folder
        Where a folder is to be written.
    overwrite
        Whether it may be.
    what
        What is written, for the message.
    """
    if overwrite or not os.path.lexists(folder):
        return
    kind = "" if folder.is_dir() else " and is a file, not a folder"
    replaced = f"replace the {what}" if folder.is_dir() else f"put the {what} in its place"
    raise FileError(
        f"{folder} already exists{kind}.",
        remedy=f"choose another folder, or pass `overwrite=True` to {replaced}.",
    )


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say of a place that cannot be written to which it is, and why."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = errno_of(error)
        if number is None:  # not of the system
            raise
        above = next((parent for parent in path.parents if os.path.lexists(parent)), path.parent)
        why = os.strerror(number) if above.is_dir() else f"{above} is a file"
        raise UnwritableError(
            f"{path} cannot be written: {why}.",
            remedy="name a place in a folder that you may write to, with space left.",
        ) from error


def errno_of(error: BaseException) -> int | None:
    """Return the system's number of an error, or of the one that it explains.

    HDF5 has it in the text alone. What is saved as a part of something is explained once for the
    part, whose place nobody knows, and once for the whole.
    """
    number = getattr(error, "errno", None)
    said = re.search(r"errno = (\d+)", str(error))
    if number is None and said:
        return int(said[1])
    if isinstance(error, UnwritableError) and error.__cause__ is not None:
        return errno_of(error.__cause__)
    return number


def _put(stage: Path, folder: Path, name: str, files: list[Path]) -> None:
    """Bring the files of a stage to their place."""
    if folder.is_dir():
        if len(files) == 1:
            _move(files[0], folder)
        else:
            os.replace(stage, _committed(folder, name))
            finish(folder, name)
    elif os.path.lexists(folder):  # a file, or a link to nothing: no system swaps it for a folder
        aside = folder.with_name(f".{folder.name}.{uuid4().hex[:12]}.old")
        os.replace(folder, aside)
        try:
            os.replace(stage, folder)
        except BaseException:
            os.replace(aside, folder)
            raise
        aside.unlink()
    else:
        os.replace(stage, folder)


def newest(file: Path, name: str) -> Path:
    """Return where the content of a file is: in its place, or in a save not yet finished."""
    committed = _committed(file.parent, name)
    saved = committed / file.name
    return saved if saved.exists() and not _superseded(committed) else file


def finish(folder: Path, name: str) -> None:
    """Move the files of a complete save into place, where a kill interrupted this."""
    committed = _committed(folder, name)
    if not committed.is_dir():
        return
    if not _superseded(committed):
        files = sorted(committed.iterdir(), key=lambda file: file.name == name)
        for count, file in enumerate(files):
            try:
                _move(file, folder)
            except BaseException:
                if count == 0:  # nothing has changed yet: take the save back
                    shutil.rmtree(committed, ignore_errors=True)
                raise
        _flush(folder)
    shutil.rmtree(committed, ignore_errors=True)


def _committed(folder: Path, name: str) -> Path:
    return folder / f".{name}.complete"


def _superseded(committed: Path) -> bool:
    """Whether something else, such as scvi-tools, has written the files since."""
    return any(
        (target := committed.parent / file.name).exists()
        and target.stat().st_mtime_ns > file.stat().st_mtime_ns
        for file in committed.iterdir()
    )


def _move(file: Path, folder: Path) -> None:
    target = folder / file.name
    if target.exists():
        shutil.copymode(target, file)
    os.replace(file, target)


def _flush(path: Path) -> None:
    """Wait until a file, or the list of files in a folder, is on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
