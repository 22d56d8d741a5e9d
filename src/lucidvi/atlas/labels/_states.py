"""Latent posteriors of cells, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class States:
    """Latent posteriors of cells.

    Parameters
    ----------
    loc, scale
        Means and standard deviations, shape ``(n_cells, n_latent)``.
    """

    loc: NDArray[np.float32]
    scale: NDArray[np.float32]

    def select(self, cells: NDArray[np.integer]) -> Self:
        """Return those of some of the cells, by their positions."""
        return type(self)(self.loc[cells], self.scale[cells])
