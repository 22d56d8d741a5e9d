"""The part of each minibatch that one process of several takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from lucidvi._ranks import Ranks
from lucidvi.data.stores import Minibatch

#: Key of a minibatch for the number of cells that all processes have of it, shape ``()``.
TOTAL = "n_cells_of_all_processes"


class Shares:
    """The rows of one process in each minibatch of a sampler.

    Whatever the sampler, it goes through the cells in the order of the first process, so that
    the minibatches of all are parts of the same ones, and each cell is in one part.

    Parameters
    ----------
    batches
        Sampler of minibatches, each a sequence of rows.
    ranks
        The processes.
    """

    def __init__(self, batches: Any, ranks: Ranks) -> None:
        self.batches, self.ranks = batches, ranks
        #: Rows that the minibatches under way have in all processes.
        self.totals: deque[int] = deque()

    def __len__(self) -> int:
        """Count the minibatches of an epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows of this process."""
        self.totals.clear()
        batches = iter(self.batches)
        with self.ranks.draws_of_first():
            first = next(batches, None)
        if first is None:
            return
        yield self._share(first)
        yield from map(self._share, batches)

    def _share(self, rows: Any) -> Any:
        self.totals.append(len(rows))
        return self.ranks.share(rows)

    def with_total(self, minibatch: Minibatch) -> Minibatch:
        """Say in the next minibatch how many cells all processes have of it."""
        return {**minibatch, TOTAL: torch.tensor(self.totals.popleft())}


def total_of(minibatch: Minibatch) -> int | None:
    """Return how many cells all processes of a training have of a minibatch.

    Parameters
    ----------
    minibatch
        Cells of this process.

    Returns
    -------
    None of a minibatch that is not shared out, or not by :class:`CellLoader`.
    """
    total = minibatch.get(TOTAL)
    return None if total is None else int(total)
