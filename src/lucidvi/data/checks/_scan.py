"""One pass over all values of a matrix: are they valid, and which cells have counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lucidvi._progress import Progress
from lucidvi.data.matrices._blocks import Block, blocks
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lucidvi.data.checks._digest import CellDigests


#: Largest number that a model reads, in float32; of a type that half precision is widened to.
LARGEST = np.float64(np.finfo(np.float32).max)


def scan(
    matrix: Any, place: str, is_count_data: bool, digests: CellDigests | None = None
) -> tuple[bool, NDArray[np.bool_]]:
    """Return whether every value is valid and, ``(n_cells,)``, which cells have counts.

    Stops at the first block with an invalid value. All blocks are added to ``digests``.
    """
    cells = np.zeros(0 if matrix is None else matrix.shape[0], dtype=bool)
    total = None if matrix is None else int(np.prod(matrix.shape))
    with np.errstate(invalid="ignore"), Progress("Checking the counts", total) as progress:
        for block in blocks(matrix, place):
            progress.advance(block.n_rows * block.n_columns)
            if not _is_valid(block, place, is_count_data):
                return False, cells
            if is_count_data:
                block.mark_positive(cells)
            if digests is not None:
                digests.add(block)
    return True, cells


def holds_counts(matrix: Any) -> bool:
    """Return whether a matrix could be given as counts."""
    try:
        values_are_valid, cells = scan(matrix, "matrix", is_count_data=True)
    except DataError:
        return False
    return values_are_valid and bool(cells.any())


def _is_valid(block: Block, place: str, is_count_data: bool) -> bool:
    values = block.values
    if values.dtype.kind not in "buif":
        raise _not_numbers(values.dtype, place)
    if values.dtype.kind in "bu" or values.size == 0:
        return True
    smallest = values.min()  # NaN if there is one, and no comparison with NaN is true
    if values.dtype.kind == "i":
        return not is_count_data or bool(smallest >= 0)
    if not (smallest >= -LARGEST and values.max() <= LARGEST):
        return False
    return not is_count_data or bool(smallest >= 0 and (np.rint(values) == values).all())


def _not_numbers(dtype: np.dtype[Any], place: str) -> DataError:
    return DataError(
        f"{place} has dtype {dtype}; counts must be integers or real numbers.",
        remedy=f"{place} = {place}.astype(np.float32)",
    )
