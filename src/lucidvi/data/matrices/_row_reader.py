"""What gives rows of counts that are kept elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np


class RowReader:
    """Counts, ``(n_cells, n_genes)``, that are neither in memory nor a matrix of one file."""

    #: As of a dense array in a file that is not in chunks.
    chunks = None
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: Any) -> Any:
        """Return consecutive rows, a slice, as CSR in memory."""
        raise NotImplementedError
