"""Whether a file is the one that was written: checksums of archives, digests of other files."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lucidvi.errors import FileError, LucidVIError

#: Letters of a reason that are shown.
LONGEST = 300
#: Remedy for a file that is not what was written.
AGAIN = "copy or download it again; if it is as it was written, save it again."

#: Bytes, and how many times its size, that an archive may unpack to.
LARGEST, MOST_TIMES = 2**30, 4


def check_archive(path: Path, *, compressed: bool = True) -> None:
    """Raise :class:`zipfile.BadZipFile` unless a zip archive is as it was written.

    Its checksums are compared, which torch does not do at all and NumPy for some arrays alone, so
    that a flipped bit is not read as another weight.

    Parameters
    ----------
    path
        A file of :func:`torch.save` or :func:`numpy.savez`.
    compressed
        Whether its members may be compressed, which torch does not do.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise zipfile.BadZipFile("two of its members have one name")
        size = sum(entry.file_size for entry in entries)
        if size > max(LARGEST, MOST_TIMES * path.stat().st_size):
            raise zipfile.BadZipFile(f"it would unpack to {size:,} bytes")
        if not compressed and any(entry.compress_type for entry in entries):
            raise zipfile.BadZipFile("its members are compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of its member {damaged!r} is wrong")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, digest: object, remedy: str) -> None:
    """Raise :class:`FileError` if a file is not the one that was written.

    HDF5 has no checksums, and reading a damaged file of it can end the process.

    Parameters
    ----------
    path
        The file.
    digest
        Its :func:`digest_of` when it was written; None if that was not kept.
    remedy
        What to do if it was changed on purpose.
    """
    if digest is not None and digest_of(path) != digest:
        raise FileError(
            f"{path} is not the file that was saved: its digest is another one.",
            remedy=f"copy or download it again if it is damaged. {remedy}",
        )


@contextmanager
def whole(path: Path | str, what: str) -> Iterator[None]:
    """Raise :class:`FileError` for whatever a file raises that does not hold what it should.

    Parameters
    ----------
    path
        The file.
    what
        What it should hold: ``"saved model"``.
    """
    try:
        yield
    except LucidVIError:
        raise
    except Exception as error:  # values of any type where others belong raise anything
        reason = " ".join(str(error).split()).rstrip(".")[:LONGEST] or "no reason is given"
        raise FileError(
            f"{path} holds no whole {what} ({type(error).__name__}: {reason}).", remedy=AGAIN
        ) from error


@contextmanager
def reading(path: Path | str, what: str) -> Iterator[None]:
    """Be :func:`whole`, and silent about what others say of the age of a file."""
    with whole(path, what), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
