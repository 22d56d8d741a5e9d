"""Matrices that another process opens anew where they are in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
from anndata.abc import CSCDataset, CSRDataset
from anndata.io import sparse_dataset

from lucidvi.data.matrices._joined import JoinedCounts
from lucidvi.data.matrices._stored import JOINED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class InFile:
    """A matrix of an HDF5 file, which no other process can be given.

    Parameters
    ----------
    file, name
        Path of the file, and what the matrix is called there.
    """

    file: str
    name: str

    def open(self) -> Any:
        """Return the matrix."""
        element = h5py.File(self.file, "r")[self.name]
        return sparse_dataset(element) if isinstance(element, h5py.Group) else element


@dataclass(frozen=True, eq=False)
class Joined:
    """Rows of several matrices, see :class:`JoinedCounts`.

    Parameters
    ----------
    parts
        What :func:`portable` makes of each.
    columns, n_columns
        See :class:`JoinedCounts`.
    """

    parts: tuple[Any, ...]
    columns: tuple[NDArray[np.integer], ...]
    n_columns: int

    def open(self) -> Any:
        """Return them as a dask array."""
        parts = [opened_again(part) for part in self.parts]
        return JoinedCounts(parts, self.columns, self.n_columns).as_dask()


def portable(matrix: Any) -> Any:
    """Return a matrix, or what another process opens it by.

    Parameters
    ----------
    matrix
        A matrix of an AnnData, or None.
    """
    joined = getattr(matrix, JOINED, None)
    if joined is not None:
        parts = tuple(portable(part.matrix) for part in joined.parts)
        return Joined(parts, tuple(joined.columns), joined.shape[1])
    element = matrix.group if isinstance(matrix, CSRDataset | CSCDataset) else matrix
    if isinstance(element, h5py.Group | h5py.Dataset):
        return InFile(element.file.filename, element.name)
    return matrix


def opened_again(matrix: Any) -> Any:
    """Return the matrix of what :func:`portable` returned."""
    return matrix.open() if isinstance(matrix, InFile | Joined) else matrix
