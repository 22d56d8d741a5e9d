"""Which other matrix of an AnnData holds all the counts, if one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi.data._remedies import Reader, place_of
from lucidvi.data.checks._scan import holds_counts
from lucidvi.data.checks._transforms import Cause
from lucidvi.data.matrices._blocks import blocks
from lucidvi.data.matrices._layers import layer_names, matrix_of

#: Cells, the first ones, by which matrices are compared.
SAMPLE = 256
#: Share of the values of a matrix that counts which it was made of have to cover.
COVERED = 0.9
#: Correlation with values that were made of the counts: in a cell, the function undone; of a
#: gene with its scaled values.
IN_CELL, OF_GENE = 0.9, 0.4
#: Share of the largest total that another matrix of counts has at least.
SHARE = 0.5
PART = "it holds a part of them"


@dataclass(frozen=True)
class Source:
    """A matrix of integers beside the one that was read.

    Parameters
    ----------
    place
        How it is reached.
    code
        Code after which it is read.
    cells
        Its first cells, of the genes of the AnnData, ``(n_cells, n_genes)``.
    name
        How an argument ``layer`` names it: a layer, ``"raw"`` or ``"X"``.
    why_not
        Why it does not hold all the counts; empty if it may.
    """

    place: str
    code: str
    cells: sparse.csr_matrix
    name: str
    why_not: str = ""


def sources(
    adata: AnnData,
    reader: Reader,
    values: sparse.csr_matrix | None = None,
    cause: Cause | None = None,
) -> tuple[list[Source], list[Source]]:
    """Return the matrices that may hold all counts, and those of integers that cannot.

    Parameters
    ----------
    adata
        The cells.
    reader
        Whoever reads the counts, at a place that does not hold them.
    values
        The first cells of what is there, ``(n_cells, n_genes)``; None if there is nothing.
    cause
        How these came about.
    """
    every = list(_integers(adata, reader))
    others = [] if values is None else list(_sparse_values(adata, reader.layer))
    every = [replace(s, why_not=_why_not(s.cells, values, cause, others)) for s in every]
    largest = max((source.cells.sum() for source in every if not source.why_not), default=0)
    every = [
        replace(s, why_not=PART) if not s.why_not and s.cells.sum() < SHARE * largest else s
        for s in every
    ]
    return [s for s in every if not s.why_not], [s for s in every if s.why_not]


def first_cells(matrix: Any, place: str, n_cells: int = SAMPLE) -> sparse.csr_matrix:
    """Return the first cells of a matrix of any format, in memory."""
    n_cells = min(n_cells, matrix.shape[0])
    total = sparse.csr_matrix((n_cells, matrix.shape[1]))
    for block in blocks(matrix, place):
        if block.by_cell and block.first_row >= n_cells:
            break
        total = total + block.in_first_cells(total.shape)
    return total


def _integers(adata: AnnData, reader: Reader) -> Iterator[Source]:
    for name in (None, *layer_names(adata)):
        if name != reader.layer and holds_counts(matrix_of(adata, name)):
            place = place_of(name)
            cells = first_cells(matrix_of(adata, name), place)
            yield Source(place, reader.reads(name), cells, "X" if name is None else name)
    raw = adata.raw
    if raw is None or not holds_counts(raw.X):
        return
    columns = raw.var_names.get_indexer_for(adata.var_names[adata.var_names.isin(raw.var_names)])
    if len(columns) >= adata.n_vars / 2:
        cells = first_cells(raw.X, "adata.raw.X")
        if adata.var_names.isin(raw.var_names).all() and len(columns) == adata.n_vars:
            cells = cells[:, columns]
        yield Source("adata.raw", reader.reads_raw(adata), cells, "raw")


def _sparse_values(adata: AnnData, layer: str | None) -> Iterator[sparse.csr_matrix]:
    """Yield the first cells of the other matrices that are no counts and have zeros."""
    for name in (None, *layer_names(adata)):
        matrix = matrix_of(adata, name)
        if name == layer or matrix is None or holds_counts(matrix):
            continue
        try:
            cells = first_cells(matrix, place_of(name))
        except (TypeError, ValueError):  # no numbers
            continue
        if cells.nnz and not _is_dense(cells):
            yield cells


def _why_not(
    counts: sparse.csr_matrix,
    values: sparse.csr_matrix | None,
    cause: Cause | None,
    others: list[sparse.csr_matrix],
) -> str:
    if counts.nnz == 0:
        return "its first cells are empty"
    if counts.data.max() < 2:
        return "it holds 0 and 1 alone"
    if counts.data.min() == counts.data.max():
        return "it holds one number alone"
    if values is None or values.shape != counts.shape or values.nnz == 0:
        return ""
    if _is_dense(values):
        is_like = _correlation_of_genes(values, counts) >= OF_GENE
        return "" if is_like or all(_covers(counts, x) for x in others) else PART
    if not _covers(counts, values):
        return PART
    if cause is not None and cause.undo is not None and values.data.min() >= 0:
        undone = values.copy()
        undone.data = cause.undo(undone.data)
        if _correlation_in_cells(undone, counts) < IN_CELL:
            return "it is not what the values were made of"
    return ""


def _is_dense(cells: sparse.csr_matrix) -> bool:
    """Return whether values tell nothing by being zero: there are none, or negative ones."""
    if cells.nnz == 0:
        return False
    expressed = (cells.getnnz(axis=0) > 0).sum() * cells.shape[0]
    return bool(np.nanmin(cells.data) < 0 or cells.nnz > 0.95 * expressed)


def _covers(counts: sparse.csr_matrix, values: sparse.csr_matrix) -> bool:
    """Return whether there are counts nearly wherever there is a value."""
    if values.shape != counts.shape or values.nnz == 0:
        return True
    return (values != 0).multiply(counts != 0).nnz >= COVERED * values.nnz


def _correlation_in_cells(values: sparse.csr_matrix, counts: sparse.csr_matrix) -> float:
    """Return the median over cells of the correlation between values and counts."""
    correlations = []
    for x, y in zip(values, counts, strict=True):
        where = x.indices
        a, b = x.data, np.asarray(y[:, where].todense()).ravel()
        if len(where) >= 5 and a.std() > 0 and b.std() > 0:
            correlations.append(np.corrcoef(a, b)[0, 1])
    return float(np.median(correlations)) if correlations else 1.0


def _correlation_of_genes(values: sparse.csr_matrix, counts: sparse.csr_matrix) -> float:
    """Return the mean over genes of the correlation between values and log counts."""
    x, y = values.toarray(), np.log1p(counts.toarray())
    finite = np.isfinite(x).all(axis=0)
    x, y = x[:, finite], y[:, finite]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    varies = scale > 1e-9
    return float(((x * y).sum(axis=0)[varies] / scale[varies]).mean()) if varies.any() else 1.0
