"""Rows of several matrices, one below the other, whose columns are found by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from lucidvi.data.matrices._row_reader import RowReader
from lucidvi.data.matrices._stored import JOINED, StoredCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows of a chunk of a dask array, for whoever reads it as one.
CHUNK_ROWS = 4_096


class JoinedCounts(RowReader):
    """Matrices below each other, of which rows are read when they are asked for, as CSR.

    Parameters
    ----------
    parts
        The matrices, in memory or in files.
    columns
        Of each matrix, the column of the whole that each of its own becomes, -1 for none.
    n_columns
        Columns of the whole.
    """

    ndim = 2

    def __init__(
        self, parts: Sequence[Any], columns: Sequence[NDArray[np.integer]], n_columns: int
    ) -> None:
        self.parts = [StoredCounts(part) for part in parts]
        self.columns = [np.asarray(own, np.int32) for own in columns]
        self.stops = np.cumsum([len(part) for part in self.parts])
        self.shape = (int(self.stops[-1]), n_columns)
        # As numpy would promote them, so that no count is cut to fit an earlier matrix's type.
        self.dtype = np.result_type(*(part.dtype for part in self.parts))

    def __getitem__(self, wanted: Any) -> sparse.csr_matrix:
        """Return consecutive rows, a slice, or a pair of slices of rows and columns."""
        rows, columns = wanted if isinstance(wanted, tuple) else (wanted, slice(None))
        first, stop, _ = rows.indices(self.shape[0])
        read = []
        for i in range(len(self.parts)):
            start = self.stops[i] - len(self.parts[i])
            own = slice(max(first - start, 0), min(stop - start, len(self.parts[i])))
            if own.start < own.stop:
                read.append(self._placed(i, self.parts[i][own]))
        whole = sparse.vstack(read, "csr") if len(read) > 1 else (*read, self._nothing())[0]
        return sparse.csr_matrix(whole[:, columns] if columns != slice(None) else whole)

    def of_columns(self, columns: NDArray[np.integer]) -> JoinedCounts:
        """Return the same with some of the columns, in this order.

        Parameters
        ----------
        columns
            Positions of the columns.
        """
        places = np.full(self.shape[1], -1, np.int32)
        places[columns] = np.arange(len(columns))
        new = [np.where(own >= 0, places[own], -1) for own in self.columns]
        return JoinedCounts([part.matrix for part in self.parts], new, len(columns))

    def as_dask(self) -> Any:
        """Return a dask array of the rows, which :class:`StoredCounts` reads without dask."""
        import dask.array

        lazy = dask.array.from_array(
            self,
            chunks=(CHUNK_ROWS, self.shape[1]),
            name=False,
            asarray=False,
            meta=self._nothing(),
        )
        setattr(lazy, JOINED, self)
        return lazy

    def _nothing(self) -> sparse.csr_matrix:
        return sparse.csr_matrix((0, self.shape[1]), dtype=self.dtype)

    def _placed(self, i: int, rows: Any) -> sparse.csr_matrix:
        """Return rows of one matrix with each column at its place in the whole."""
        rows = sparse.csr_matrix(rows, dtype=self.dtype)
        columns = self.columns[i][rows.indices]
        shape = (rows.shape[0], self.shape[1])
        kept = columns >= 0
        if kept.all():
            return sparse.csr_matrix((rows.data, columns, rows.indptr), shape=shape)
        indptr = np.r_[0, np.cumsum(kept)][rows.indptr]
        return sparse.csr_matrix((rows.data[kept], columns[kept], indptr), shape=shape)
