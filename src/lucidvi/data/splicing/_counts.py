"""Values as integer counts, or an error that says which value is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lucidvi.data.splicing._molecules import Layer
from lucidvi.errors import DataError


def integer_counts(layer: Layer, cells: pd.Index, genes: pd.Index) -> sparse.csr_matrix:
    """Return values as integer counts.

    Parameters
    ----------
    layer
        The values, which may be stored as any type, and with zeros.
    cells, genes
        Names, for errors.

    Returns
    -------
    Counts as int32, of which no zero is stored, ``(n_cells, n_genes)``.

    Raises
    ------
    lucidvi.errors.DataError
        If a value is negative, no integer, or too large for 32 bits.
    """
    values = sparse.csr_matrix(layer.values)
    values.sum_duplicates()
    with np.errstate(invalid="ignore"):
        counts = values.data.astype(np.int32)
    wrong = (counts != values.data) | (counts < 0)
    if wrong.any():
        first = int(np.argmax(wrong))
        row = int(np.searchsorted(values.indptr, first, side="right")) - 1
        value, gene = values.data[first].item(), genes[values.indices[first]]
        raise DataError(
            f"{wrong.sum():,} of {wrong.size:,} values in {layer.place} are no numbers of "
            f"molecules; the first is {value!r}, of cell {str(cells[row])!r} and gene "
            f"{str(gene)!r}.",
            remedy="Give counts as the tool wrote them, not normalised or corrected. With `--mm` "
            "or `--em`, kb shares molecules between genes: count without them.",
        )
    counted = sparse.csr_matrix((counts, values.indices, values.indptr), shape=values.shape)
    counted.eliminate_zeros()
    return counted
