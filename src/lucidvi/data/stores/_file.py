"""Cells that are read when they are asked for: from a file, a dask array, a collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from lucidvi import kernels
from lucidvi.data.matrices._broken import readable_rows
from lucidvi.data.matrices._repeats import without_repeats
from lucidvi.data.matrices._stored import StoredCounts
from lucidvi.data.stores._annotations import Minibatch
from lucidvi.data.stores._store import CellSource, CellStore, Rows, as_tensor, positions

#: Row starts, columns and values of a CSR matrix.
Arrays = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]
#: Bytes of counts that are read at once, while as many are gone through.
READ_AHEAD = 2**26
#: Most cells that are read at once.
MOST_AT_ONCE = 2**16


class FileStore(CellStore):
    """Cells whose counts are read, and made CSR, when they are asked for.

    Those in memory that are not CSR are read so by a query, which asks for some of them once.
    Counts that come from elsewhere are compared with those that were checked. Of a stream of
    minibatches many are read together, by a thread, while the ones before are gone through.

    Parameters
    ----------
    source
        Cells in any form.
    """

    def __init__(self, source: CellSource) -> None:
        self.n_cells = source.n_cells
        self.annotations = source.annotations
        self.adata_manager = source.adata_manager
        self.stored = {
            key: matrix if isinstance(matrix, StoredCounts) else StoredCounts(matrix)
            for key, matrix in source.matrices.items()
        }
        if not source.is_in_memory:
            size = sum(stored.bytes_per_cell for stored in self.stored.values())
            self.n_at_once = max(1, min(MOST_AT_ONCE, READ_AHEAD // size))

    @classmethod
    def fits(cls, source: CellSource) -> bool:
        """Return True: rows of every form can be read."""
        return True

    def take(self, rows: Rows) -> Minibatch:
        """See :meth:`CellStore.take`."""
        rows = positions(rows)
        minibatch = self.annotations.take(torch.from_numpy(rows))
        for key in self.stored:
            starts, genes, values = map(torch.from_numpy, self._read(key, rows))
            minibatch[key] = kernels.csr(starts, genes, values, self.stored[key].shape[1])
        return minibatch

    def stream(
        self, minibatches: Iterable[Rows], n_at_once: int | None = None, n_done: int = 0
    ) -> Iterator[Minibatch]:
        """See :meth:`CellStore.stream`."""
        n_at_once = n_at_once or self.n_at_once
        if n_at_once is None:
            yield from super().stream(minibatches)
            return
        together = grouped(map(positions, minibatches), n_at_once, n_done)
        with ThreadPoolExecutor(1, "lucidvi reads ahead") as thread:
            waiting = [thread.submit(self._passage, some) for some in islice(together, 1)]
            while waiting:
                passage = waiting.pop().result()
                waiting = [thread.submit(self._passage, some) for some in islice(together, 1)]
                yield from passage
                del passage

    def _passage(self, minibatches: list[NDArray[np.int64]]) -> Iterator[Minibatch]:
        """Read what some minibatches need, once, and return them."""
        every = np.unique(np.concatenate(minibatches) % max(1, self.n_cells))
        counts = {key: self._read(key, every) for key in self.stored}
        return self._taken(minibatches, every, counts)

    def _taken(
        self,
        minibatches: list[NDArray[np.int64]],
        every: NDArray[np.int64],
        counts: dict[str, Arrays],
    ) -> Iterator[Minibatch]:
        for rows in minibatches:
            minibatch = self.annotations.take(torch.from_numpy(rows))
            places = np.searchsorted(every, rows % max(1, self.n_cells))
            for key, parts in counts.items():
                minibatch[key] = kernels.copy_rows(parts, places, self.stored[key].shape[1])
            yield minibatch

    def _read(self, key: str, rows: NDArray[np.int64]) -> Arrays:
        """Return rows as CSR (int32, float32), after a look at whether they have changed."""
        stored = self.stored[key]
        if stored.is_in_memory:
            counts = stored[rows]
        else:
            with readable_rows(stored.matrix, rows):
                counts = stored[rows]
                self.adata_manager.check_values(rows, counts, key)
        if not sparse.issparse(counts):
            starts, genes, values = kernels.csr_parts(as_tensor(counts, np.float32))
            return starts.numpy(), genes.numpy(), values.numpy()
        counts = without_repeats(counts)
        parts = counts.indptr, counts.indices, counts.data
        starts, genes, values = (
            part.astype(dtype, copy=False)
            for part, dtype in zip(parts, (np.int32, np.int32, np.float32), strict=True)
        )
        return starts, genes, values


def grouped(
    minibatches: Iterable[NDArray[np.int64]], n_cells: int, n_done: int = 0
) -> Iterator[list[NDArray[np.int64]]]:
    """Yield minibatches in groups, each of as many as have no more cells together.

    Parameters
    ----------
    minibatches
        Positions of the cells of each, of which all but the last have as many as the first.
    n_cells
        Most cells of a group, unless one minibatch has more.
    n_done
        Minibatches that came before, with which the first group began.
    """
    group: list[NDArray[np.int64]] = []
    size, n_left = None, 0
    for rows in minibatches:
        if size is None:
            size = max(1, n_cells // max(1, len(rows)))
            n_left = size - n_done % size
        group.append(rows)
        if len(group) == n_left:
            yield group
            group, n_left = [], size
    if group:
        yield group
