"""The order in which a training goes through cells that are not in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

#: Cells that lie together in a file and are read together.
BLOCK_SIZE = 128


class BlockShuffle(Sampler[NDArray[np.int64]]):
    """Minibatches of cells that are read block by block, and shuffled in a buffer.

    The cells are cut into blocks of those that lie beside each other, at other places in each
    epoch. The blocks are put into random order, as many of them as fill the buffer are read
    together, and the cells of these are shuffled. Each cell is in one minibatch of an epoch.

    A minibatch is of the cells of one buffer, so of as many blocks, from all of the file, as there
    are in it. The order of an epoch is drawn with one number of torch's generator.

    Parameters
    ----------
    positions
        Positions of the cells in the file, in any order, shape ``(n_cells,)``.
    batch_size
        Cells of a minibatch.
    drop_last
        Whether a last minibatch of fewer cells is left out.
    block_size
        Cells of a block.
    buffer_size
        Most cells of a buffer.
    """

    def __init__(
        self,
        positions: NDArray[np.integer],
        batch_size: int,
        drop_last: bool | int,
        block_size: int,
        buffer_size: int,
    ) -> None:
        self.by_position = np.argsort(positions, kind="stable")
        self.batch_size, self.block_size = batch_size, block_size
        self.drop_last = drop_last
        self.buffer_size = max(1, buffer_size // batch_size) * batch_size

    def __len__(self) -> int:
        """Count the minibatches of an epoch."""
        n_cells = len(self.by_position)
        return n_cells // self.batch_size if self.drop_last else -(-n_cells // self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Yield the places of the cells of each minibatch among ``positions``."""
        rng = np.random.default_rng(int(torch.empty((), dtype=torch.int64).random_().item()))
        order = self._blocks(rng)
        n_left = len(self)
        for start in range(0, len(order), self.buffer_size):
            buffer = rng.permutation(order[start : start + self.buffer_size])
            for first in range(0, len(buffer), self.batch_size)[:n_left]:
                yield buffer[first : first + self.batch_size]
            n_left -= -(-len(buffer) // self.batch_size)

    def _blocks(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the cells, block after block in random order."""
        n_cells = len(self.by_position)
        begin = rng.integers(min(self.block_size, max(1, n_cells)))
        cuts = np.r_[0, np.arange(begin or self.block_size, n_cells, self.block_size), n_cells]
        lengths = np.diff(cuts)
        blocks = rng.permutation(len(lengths))
        starts, lengths = cuts[:-1][blocks], lengths[blocks]
        shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return self.by_position[np.arange(n_cells) + shifts]
