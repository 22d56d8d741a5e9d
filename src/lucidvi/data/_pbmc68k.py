"""A small real data set that needs no download: 700 blood cells with integer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 0.15
"""Largest distance from an integer that rounding to three decimals explains."""


def recover_counts(log_normalized: NDArray[Any] | Any) -> sparse.csr_matrix:
    r"""Recover integer counts from log-normalised values.

    Inverts :math:`y = \log(1 + s\, x)`, where the scale :math:`s` of a cell is unknown. If the
    smallest count of the cell is 1, its smallest value above zero is :math:`\log(1 + s)`, so

    .. math:: x = \frac{e^{y} - 1}{\min_{y > 0} (e^{y} - 1)}

    up to the rounding of `y`.

    Parameters
    ----------
    log_normalized
        Values above or equal to zero (natural logarithm), numpy or sparse, ``(n_cells, n_genes)``.

    Returns
    -------
    Counts as int32, ``(n_cells, n_genes)``.

    Raises
    ------
    DataError
        If a quotient is further than 0.15 from an integer, so that values that are not
        log-normalised counts are never turned into counts, or a cell has no value above zero.
    """
    values = sparse.csr_matrix(log_normalized, dtype=np.float64, copy=True)
    values.sum_duplicates()
    values.eliminate_zeros()
    stored = np.diff(values.indptr)
    if not stored.all():
        raise _empty_cell(int(np.argmin(stored)))
    scaled = np.expm1(values.data)
    smallest = np.minimum.reduceat(scaled, values.indptr[:-1])
    quotients = scaled / np.repeat(smallest, stored)
    counts = np.rint(quotients)
    wrong = ~(abs(quotients - counts) <= TOLERANCE) | (values.data < 0)
    if wrong.any():
        raise _not_integer(values, quotients, wrong)
    return sparse.csr_matrix(
        (counts.astype(np.int32), values.indices, values.indptr), shape=values.shape
    )


def pbmc68k() -> AnnData:
    """Return 700 peripheral blood cells with counts of 765 genes.

    scanpy's ``pbmc68k_reduced``, which scanpy ships, holds log-normalised values; the counts
    are recovered from them.

    Returns
    -------
    Integer counts in ``X`` (CSR); ``obs["cell_type"]`` (from the bulk labels of the original),
    ``obs["n_counts"]`` (UMIs of the cell over all genes, also those not in ``X``).

    References
    ----------
    Zheng et al., Massively parallel digital transcriptional profiling of single cells,
    Nature Communications 8, 14049 (2017).
    """
    import scanpy as sc

    original = sc.datasets.pbmc68k_reduced()
    adata = AnnData(recover_counts(original.raw.X))
    adata.obs_names = original.obs_names
    adata.var_names = original.raw.var_names
    adata.obs["cell_type"] = original.obs["bulk_labels"].astype("category")
    adata.obs["n_counts"] = original.obs["n_counts"]
    return adata


def _empty_cell(row: int) -> DataError:
    return DataError(
        f"log_normalized has no value above zero in row {row}, so its scale is unknown.",
        remedy="drop such cells: sc.pp.filter_cells(adata, min_genes=1)",
    )


def _not_integer(
    values: sparse.csr_matrix, quotients: NDArray[np.floating], wrong: NDArray[np.bool_]
) -> DataError:
    k = int(np.argmax(wrong))
    row = int(np.searchsorted(values.indptr, k, side="right")) - 1
    return DataError(
        f"log_normalized is not log1p of scaled counts: {wrong.sum():,} of {values.nnz:,} values "
        f"are no whole multiple of their cell's smallest one; the first is {values.data[k]:g} in "
        f"row {row}, column {values.indices[k]}, {quotients[k]:.4g} times the smallest.",
        remedy="load the original counts; from these values they cannot be recovered.",
    )
