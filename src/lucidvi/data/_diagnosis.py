"""What is wrong with values that are not counts, and what to use instead.

Runs only once a value is known to be invalid: it looks at all of them again, slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi.data._blocks import Block, blocks
from lucidvi.data._scan import holds_counts
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 256
"""Cells, the first ones, from which the likely cause is read."""


class Fault:
    """The values of one wrong kind: how many, in which cells, and the first one."""

    def __init__(self, n_cells: int) -> None:
        self.n_values = 0
        self.cells = np.zeros(n_cells, dtype=bool)
        self.first: tuple[int, int, np.number[Any]] | None = None

    def add(self, block: Block, wrong: NDArray[np.bool_]) -> None:
        """Count the values of a block that are wrong."""
        positions = np.flatnonzero(wrong)
        if positions.size == 0:
            return
        cells, genes = block.locate(positions)
        self.n_values += positions.size
        self.cells[cells] = True
        in_first_cell = np.flatnonzero(cells == cells.min())
        k = in_first_cell[genes[in_first_cell].argmin()]
        found = (int(cells[k]), int(genes[k]), block.values[positions[k]])
        self.first = found if self.first is None else min(self.first, found)

    def describe(self, adata: AnnData) -> str:
        """Say where the values are."""
        assert self.first is not None
        cell, gene, value = self.first
        return (
            f"in {self.cells.sum():,} of {adata.n_obs:,} cells; the first is {value} in "
            f"cell {adata.obs_names[cell]!r} (row {cell}), "
            f"gene {adata.var_names[gene]!r} (column {gene})."
        )


class Survey:
    """All invalid values of a matrix by kind, and the values of its first cells."""

    def __init__(self, matrix: Any, place: str) -> None:
        self.not_finite, self.negative, self.fractional = (
            Fault(matrix.shape[0]) for _ in range(3)
        )
        self.n_nonzero = 0
        self.parts = [sparse.coo_matrix((SAMPLE, matrix.shape[1]))]
        with np.errstate(invalid="ignore"):
            for block in blocks(matrix, place):
                self._add(block)

    def _add(self, block: Block) -> None:
        values = block.values
        finite = np.isfinite(values)
        self.n_nonzero += int(np.count_nonzero(values))
        self.not_finite.add(block, ~finite)
        self.negative.add(block, finite & (values < 0))
        self.fractional.add(block, finite & (np.rint(values) != values))
        if not block.by_cell or block.first_row < SAMPLE:
            positions = np.flatnonzero(values)
            cells, genes = block.locate(positions)
            kept = cells < SAMPLE
            entries = values[positions[kept]].astype(float), (cells[kept], genes[kept])
            self.parts.append(sparse.coo_matrix(entries, self.parts[0].shape))

    def cause(self) -> str:
        """Guess how the values came about."""
        sample = sparse.csr_matrix(sum(part.tocsr() for part in self.parts))
        return likely_cause(sample, self.fractional.n_values / max(1, self.n_nonzero))


def explain_values(
    adata: AnnData,
    layer: str | None,
    place: str,
) -> DataError:
    """Return the error for a matrix that holds invalid values: the worst kind of them."""
    survey = Survey(adata.X if layer is None else adata.layers[layer], place)
    not_finite, negative, fractional = survey.not_finite, survey.negative, survey.fractional
    if not_finite.n_values:
        return DataError(
            f"{place} holds {_values(not_finite)} NaN or infinite, {not_finite.describe(adata)}",
            remedy="drop these cells or genes, or set the values to 0 where they mean no counts.",
        )
    others = " ".join(_where_counts_are(adata, layer))
    named_layer = "" if layer is None else f'layer="{layer}", '
    continuous = (
        "If the values are meant to be continuous: "
        f"SCVI.setup_anndata(adata, {named_layer}is_count_data=False)."
    )
    if negative.n_values:
        return DataError(
            f"{place} holds {_values(negative)} negative, {negative.describe(adata)} "
            f"{_negative_cause(survey)}",
            remedy=f"{others} {continuous}",
        )
    share = 100 * fractional.n_values / survey.n_nonzero
    return DataError(
        f"{place} does not hold counts: {fractional.n_values:,} of {survey.n_nonzero:,} non-zero "
        f"values ({share:.3g} %) are not integers, {fractional.describe(adata)} "
        f"{survey.cause()}",
        remedy=f"{others} {continuous}",
    )


def likely_cause(sample: sparse.csr_matrix, fractional_share: float) -> str:
    """Guess from some cells how values that are not integers came about.

    Parameters
    ----------
    sample
        Non-negative values, ``(n_cells, n_genes)``.
    fractional_share
        Share of the non-zero values that are not integers.
    """
    if fractional_share < 0.05:
        return "The other values are integers: these look like errors, or corrected counts."
    if sample.nnz and sample.data.max() < 30:  # expm1(30) = 1e13, more than any sum of counts
        unlogged = sample.expm1()
        total = _common_total(unlogged)
        if total is not None:
            return f"They look log-normalised: expm1 of each cell sums to {total:,.6g}."
        if _is_multiple_of_smallest(unlogged):
            return (
                "They look log-normalised: expm1 of each value is a whole multiple of its "
                "cell's smallest one."
            )
    total = _common_total(sample)
    if total is not None:
        return f"They look normalised: each cell sums to {total:,.6g}."
    if _is_multiple_of_smallest(sample):
        return "They look normalised: each value is a whole multiple of its cell's smallest one."
    return (
        "They look like corrected or estimated counts (after removal of ambient RNA, or expected "
        "counts of an aligner); these can be rounded, or used as they are."
    )


def _negative_cause(survey: Survey) -> str:
    if survey.fractional.n_values:
        return "They look scaled or centred (z-scores, residuals)."
    return "They are integers: something was subtracted, or a small integer type overflowed."


def _common_total(cells: sparse.csr_matrix) -> float | None:
    """Return what every cell sums to, if it is one number within 0.1 %."""
    totals = np.asarray(cells.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if totals.size < 2 or totals.std() > 1e-3 * totals.mean():
        return None
    return float(totals.mean())


def _is_multiple_of_smallest(cells: sparse.csr_matrix) -> bool:
    starts = cells.indptr[:-1][np.diff(cells.indptr) > 0]
    smallest = np.minimum.reduceat(cells.data, starts)
    ratios = cells.data / np.repeat(smallest, np.diff([*starts, cells.nnz]))
    ratios = ratios[ratios > 1.5]
    return ratios.size >= 20 and float(np.mean(abs(ratios - np.rint(ratios)) < 0.05)) > 0.95


def _where_counts_are(adata: AnnData, layer: str | None) -> Iterator[str]:
    """Yield a remedy for every other matrix of `adata` that does hold counts."""
    found = False
    for name in [None, *(key for key in adata.layers if key is not None)]:
        if name != layer and holds_counts(adata.X if name is None else adata.layers[name]):
            found = True
            place, argument = f'adata.layers["{name}"]', f', layer="{name}"'
            if name is None:
                place, argument = "adata.X", ""
            yield f"{place} holds counts: SCVI.setup_anndata(adata{argument})."
    raw = adata.raw
    if raw is not None and adata.var_names.isin(raw.var_names).all() and holds_counts(raw.X):
        found = True
        yield (
            "adata.raw holds counts: "
            'adata.layers["counts"] = adata.raw[:, adata.var_names].X; '
            'SCVI.setup_anndata(adata, layer="counts").'
        )
    if not found:
        yield "no layer of adata, nor adata.raw, holds counts: load the unprocessed counts."


def _values(fault: Fault) -> str:
    return "1 value that is" if fault.n_values == 1 else f"{fault.n_values:,} values that are"
