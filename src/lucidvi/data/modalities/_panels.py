"""Which features of a modality were measured in which cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucidvi._brief import brief

#: Code of the cells that do not have a modality.
ABSENT = -1


@dataclass(frozen=True, eq=False)
class Panels:
    """Sets of measured features, and which of them was used in each cell.

    Parameters
    ----------
    codes
        Panel of each cell, :data:`ABSENT` for a cell without the modality, shape ``(n_cells,)``.
    table
        Whether a panel measures a feature, bool, shape ``(n_panels, n_features)``.
    """

    codes: NDArray[np.integer]
    table: NDArray[np.bool_]

    __repr__ = brief

    @classmethod
    def complete(cls, n_cells: int, n_features: int) -> Panels:
        """Return the panel of all features, used in all cells.

        Parameters
        ----------
        n_cells, n_features
            Number of cells and of features.
        """
        return cls(np.zeros(n_cells, np.int32), np.ones((min(n_cells, 1), n_features), bool))

    @classmethod
    def of_mask(cls, measured: NDArray[np.bool_]) -> Panels:
        """Return the panels of a mask.

        Parameters
        ----------
        measured
            Whether a feature was measured in a cell, shape ``(n_cells, n_features)``.
        """
        bits = np.ascontiguousarray(np.packbits(measured, axis=1))
        rows = bits.view(np.dtype((np.void, max(bits.shape[1], 1)))).ravel()
        _, first, codes = np.unique(rows, return_index=True, return_inverse=True)
        return cls(codes.ravel(), measured[first]).tidy()

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which cells have the modality, shape ``(n_cells,)``."""
        return self.codes != ABSENT

    @property
    def is_paired(self) -> bool:
        """Whether all cells have the modality."""
        return bool(self.present.all())

    @property
    def is_complete(self) -> bool:
        """Whether all panels that are used measure all features."""
        return bool(self.table[np.unique(self.codes[self.present])].all())

    def of(self, cells: NDArray[np.integer] | NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return what was measured in some cells, shape ``(n_cells, n_features)``.

        Parameters
        ----------
        cells
            Positions of the cells, or a mask.
        """
        return self.with_absent[self.codes[cells]]

    def __and__(self, other: Panels) -> Panels:
        """Return the panels of what was measured by both."""
        both = self.present & other.present
        pairs = np.stack([self.codes, other.codes])[:, both]
        distinct, codes = np.unique(pairs, axis=1, return_inverse=True)
        every = np.full(len(self.codes), ABSENT)
        every[both] = codes.ravel()
        return Panels(every, self.table[distinct[0]] & other.table[distinct[1]]).tidy()

    def tidy(self) -> Panels:
        """Return the same with each panel once, in the order of the cells that first have it.

        Cells in whose panel there is nothing do not have the modality.
        """
        table, which = np.unique(self.with_absent, axis=0, return_inverse=True)
        codes = which.ravel()[self.codes]
        used, first, codes = np.unique(codes, return_index=True, return_inverse=True)
        used, codes = used[np.argsort(first)], np.argsort(np.argsort(first))[codes.ravel()]
        empty = ~table[used].any(axis=1)
        new = np.where(empty, ABSENT, np.cumsum(~empty) - 1)
        return Panels(new[codes].astype(np.int32), table[used][~empty])

    def placed(self, rows: NDArray[np.integer], n_cells: int) -> Panels:
        """Return the panels of more cells, of which the others do not have the modality.

        Parameters
        ----------
        rows
            Position of each cell among the new ones, shape ``(n_cells,)``.
        n_cells
            Number of the new ones.
        """
        codes = np.full(n_cells, ABSENT, np.int32)
        codes[rows] = self.codes
        return Panels(codes, self.table)

    @property
    def with_absent(self) -> NDArray[np.bool_]:
        """The table with a last row, which :data:`ABSENT` is the position of, of no feature."""
        return np.vstack([self.table, np.zeros((1, self.table.shape[1]), bool)])
