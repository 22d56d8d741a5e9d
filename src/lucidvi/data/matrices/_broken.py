"""What is said of counts in a file that can no longer be read."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from lucidvi.data.matrices._stored import is_zarr
from lucidvi.errors import DataError, LucidVIError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What h5py and zarr raise of files that are damaged, gone, or on a disk that is.
BROKEN = (OSError, RuntimeError, KeyError, ValueError, EOFError, zlib.error)


@contextmanager
def readable_rows(matrix: Any, rows: NDArray[np.integer]) -> Iterator[None]:
    """Say of rows that cannot be read in which file they are.

    Where a file was cut short, HDF5 may read zeros: what is found wrong with the values is then
    said to be that.

    Parameters
    ----------
    matrix
        What the rows are of, in a file.
    rows
        Their positions.

    Raises
    ------
    lucidvi.errors.DataError
        It names the file and the rows.
    """
    try:
        yield
    except BROKEN as error:
        place, why = place_and_size(matrix)
        if isinstance(error, LucidVIError) and why is None:
            raise
        some = ", ".join(map(str, sorted(rows.tolist())[:5])) + (", ..." if len(rows) > 5 else "")
        raise DataError(
            f"Counts of {len(rows)} cells (rows {some}) cannot be read from "
            f"{place}: {why or str(error).rstrip('.')}.",
            remedy="bring the file back as it was, and read it again: "
            f"adata = anndata.read_h5ad({place!r}, backed='r')",
        ) from error


def place_and_size(matrix: Any) -> tuple[str, str | None]:
    """Return the file of a matrix, and what is wrong with its size, if something is."""
    if is_zarr(matrix):
        return str(matrix.store), None
    node = getattr(matrix, "group", matrix)
    if not isinstance(node, h5py.HLObject):
        return "where they are", None
    file = node.file
    name = str(file.filename)
    if not os.path.exists(name):
        return name, "there is no such file any more"
    has, had = os.path.getsize(name), file.id.get_filesize()
    short = f"the file was cut short, to {has:,} of {had:,} bytes" if has < had else None
    return name, short
