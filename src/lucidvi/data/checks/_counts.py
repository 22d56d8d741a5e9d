"""Are these counts? Every value is looked at, in one pass."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scvi
from anndata import AnnData
from scipy import sparse

from lucidvi.data._remedies import Reader, is_on_disk, place_of, taken
from lucidvi.data.checks._diagnosis import explain_no_matrix, explain_values
from lucidvi.data.checks._digest import CellDigests
from lucidvi.data.checks._obs import check_layer
from lucidvi.data.checks._scan import scan
from lucidvi.data.matrices._collection import as_anndata
from lucidvi.data.matrices._layers import matrix_of
from lucidvi.errors import DataError, first_few

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Where scvi-tools looks for mean and variance of posteriors in cells that have no counts.
POSTERIOR_KEYS = ("_scvi_latent_qzm", "_scvi_latent_qzv")


def check_counts(
    adata: AnnData,
    layer: str | None = None,
    is_count_data: bool = True,
    *,
    reader: Reader | None = None,
    may_be_empty: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint64]:
    """Check that every value is a count and that every cell has one.

    Parameters
    ----------
    adata
        The cells. Nothing in it is changed; backed and dask matrices are streamed.
    layer
        Name of the layer that holds the counts; None for ``adata.X``.
    is_count_data
        If False, values are meant to be continuous and need only be finite.
    reader
        Whoever reads the counts, so that remedies are code for it; by default ``setup_anndata``.
    may_be_empty
        Which cells need not have a count, shape ``(n_cells,)``; by default none.

    Returns
    -------
    A digest of each cell's counts, see :mod:`lucidvi.data.checks._digest`, shape ``(n_cells,)``.

    Raises
    ------
    DataError
        For a value that is NaN, infinite, negative or not an integer, for a cell without
        counts, and for no cells or no genes at all. The message names the first one by its
        cell and gene, says how many there are, what the data look like, and what to use instead.
    MissingKeyError
        If there is no such layer.
    """
    reader = Reader(layer=layer) if reader is None else reader
    adata = as_anndata(adata)
    check_layer(adata, layer, reader)
    check_has_cells(adata)
    place = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    matrix = matrix_of(adata, layer)
    if matrix is None:
        raise explain_no_matrix(adata, reader, place)
    digests = CellDigests(*adata.shape)
    values_are_valid, cells = scan(matrix, place, is_count_data, digests)
    if not values_are_valid:
        raise explain_values(adata, reader, place, is_count_data)
    if may_be_empty is not None:
        cells |= may_be_empty
    if is_count_data and not cells.all():
        raise _empty_cells(adata, layer, place, cells)
    return digests.values


def has_posteriors_only(adata: AnnData, layer: str | None = None) -> bool:
    """Return whether cells hold posteriors of scvi-tools, and an empty sparse matrix for counts.

    So are the cells of atlases that are shared without their counts.

    Parameters
    ----------
    adata, layer
        See :func:`check_counts`.
    """
    if not all(key in adata.obsm for key in POSTERIOR_KEYS):
        return False
    check_layer(adata, layer)
    matrix = matrix_of(adata, layer)
    if not sparse.issparse(matrix) or 0 in matrix.shape:
        return False
    values_are_valid, cells = scan(matrix, "adata.X", is_count_data=True)
    return values_are_valid and not cells.any()


def counts_or_warn(adata: AnnData, layer: str | None = None) -> bool:
    """Return whether the values are counts, and warn where scvi-tools let others pass.

    Parameters
    ----------
    adata, layer
        See :func:`check_counts`.
    """
    if has_posteriors_only(as_anndata(adata), layer):
        return True
    try:
        check_counts(adata, layer)
    except DataError as error:
        warnings.warn(
            f"The model was trained on values that are not counts. {error}",
            UserWarning,
            stacklevel=scvi.settings.warnings_stacklevel,
        )
        return False
    return True


def check_has_cells(adata: AnnData) -> None:
    """Raise DataError for no cells or no genes."""
    if 0 in adata.shape:
        raise DataError(
            f"adata has {adata.n_obs:,} cells and {adata.n_vars:,} genes; a model needs both.",
            remedy="check the filters that were applied to cells (adata.obs) and genes "
            "(adata.var).",
        )


def _empty_cells(
    adata: AnnData, layer: str | None, place: str, cells: NDArray[np.bool_]
) -> DataError:
    empty = np.flatnonzero(~cells)
    remedy = "sc.pp.filter_cells(adata, min_counts=1)"
    if layer is not None or is_on_disk(adata):
        matrix = f"{place_of(layer)}{'[:]' if is_on_disk(adata, layer) else ''}"
        remedy = taken(adata, f"np.asarray({matrix}.sum(axis=1)).ravel() > 0")
    return DataError(
        f"{place} has {empty.size:,} of {adata.n_obs:,} cells without a single count: "
        f"{first_few(adata.obs_names[empty])}. Nothing can be inferred about them.",
        remedy=remedy,
        code=[remedy],
    )
