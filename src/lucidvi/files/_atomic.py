"""Files that appear whole or not at all, and together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_whole(folder: Path, name: str) -> Iterator[Path]:
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
        Of the main file, which is moved last.
    """
    finish(folder, name)
    is_new = not folder.exists()
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
        if is_new:
            os.replace(stage, folder)
        elif len(files) == 1:
            _move(files[0], folder)
        else:
            os.replace(stage, _committed(folder, name))
            finish(folder, name)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    shutil.rmtree(stage, ignore_errors=True)
    _flush(folder.parent if is_new else folder)


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
