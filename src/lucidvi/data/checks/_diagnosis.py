"""What is wrong with values that are not counts, and what to use instead.

Runs only once a value is known to be invalid: it looks at all of them again, slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi.data._remedies import Reader, is_on_disk, taken
from lucidvi.data.checks._scan import LARGEST
from lucidvi.data.checks._sources import SAMPLE, sources
from lucidvi.data.checks._transforms import INTEGER_SHARE, Cause, likely_cause
from lucidvi.data.matrices._blocks import Block, blocks
from lucidvi.data.matrices._layers import matrix_of
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Fault:
    """The values of one wrong kind: how many, in which cells, and the first one."""

    def __init__(self, n_cells: int, n_genes: int) -> None:
        self.n_values = 0
        self.cells = np.zeros(n_cells, dtype=bool)
        self.genes = np.zeros(n_genes, dtype=bool)
        self.first: tuple[int, int, np.number[Any]] | None = None

    def add(self, block: Block, wrong: NDArray[np.bool_]) -> None:
        """Count the values of a block that are wrong."""
        positions = np.flatnonzero(wrong)
        if positions.size == 0:
            return
        cells, genes = block.locate(positions)
        self.n_values += positions.size
        self.cells[cells] = True
        self.genes[genes] = True
        in_first_cell = np.flatnonzero(cells == cells.min())
        k = in_first_cell[genes[in_first_cell].argmin()]
        entry = (int(cells[k]), int(genes[k]), block.values[positions[k]])
        self.first = entry if self.first is None else min(self.first, entry)

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
        self.is_finite = True
        self.not_finite, self.negative, self.fractional = (Fault(*matrix.shape) for _ in range(3))
        self.n_nonzero = 0
        self.parts = [sparse.csr_matrix((SAMPLE, matrix.shape[1]))]
        with np.errstate(invalid="ignore"):
            for block in blocks(matrix, place):
                self._add(block)

    def _add(self, block: Block) -> None:
        values = block.values
        finite = np.abs(values) <= LARGEST
        self.is_finite &= bool(np.isfinite(values).all())
        self.n_nonzero += int(np.count_nonzero(values))
        self.not_finite.add(block, ~finite)
        self.negative.add(block, finite & (values < 0))
        self.fractional.add(block, finite & (np.rint(values) != values))
        if not block.by_cell or block.first_row < SAMPLE:
            self.parts.append(block.in_first_cells(self.parts[0].shape))

    @property
    def sample(self) -> sparse.csr_matrix:
        """Values of the first cells, ``(n_cells, n_genes)``."""
        first = min(SAMPLE, len(self.fractional.cells))
        return sparse.csr_matrix(sum(self.parts)[:first])

    def cause(self) -> Cause:
        """Guess how the values that are finite came about."""
        sample = self.sample
        sample.data[~(np.abs(sample.data) <= LARGEST)] = 0
        sample.eliminate_zeros()
        if self.negative.n_values and not self.fractional.n_values:
            return Cause(
                "They are integers: something was subtracted, or a small integer type overflowed."
            )
        share = self.fractional.n_values / max(1, self.n_nonzero)
        if self.negative.n_values and share < INTEGER_SHARE:
            return Cause("They look scaled or centred (z-scores, residuals).")
        return likely_cause(sample, share)


def explain_values(
    adata: AnnData, reader: Reader, place: str, is_count_data: bool = True
) -> DataError:
    """Return the error for a matrix that holds invalid values: the worst kind of them.

    Parameters
    ----------
    adata
        The cells.
    reader
        Whoever reads the matrix.
    place
        How the matrix is called in the message.
    is_count_data
        Whether the values had to be counts, or only finite.
    """
    survey = Survey(matrix_of(adata, reader.layer), place)
    if survey.not_finite.n_values:
        return _not_finite(adata, reader, place, survey, is_count_data)
    cause = survey.cause()
    text, code, counts_in = remedies(adata, reader, survey.sample, cause)
    if survey.negative.n_values:
        negative = survey.negative
        problem = f"{place} holds {_values(negative)} negative, {negative.describe(adata)}"
    else:
        fractional = survey.fractional
        share = 100 * fractional.n_values / survey.n_nonzero
        problem = (
            f"{place} does not hold counts: {fractional.n_values:,} of {survey.n_nonzero:,} "
            f"non-zero values ({share:.3g} %) are not integers, {fractional.describe(adata)}"
        )
    return DataError(f"{problem} {cause.sentence}", remedy=text, code=code, counts_in=counts_in)


def explain_no_matrix(adata: AnnData, reader: Reader, place: str) -> DataError:
    """Return the error for an AnnData without a matrix where one is read."""
    text, code, counts_in = remedies(adata, reader)
    if not code:
        text = f'name the layer that holds the counts, e.g. layer="counts"; {text}'
    problem = f"{place} is None; a model reads counts there."
    return DataError(problem, remedy=text, code=code, counts_in=counts_in)


def remedies(
    adata: AnnData,
    reader: Reader,
    values: sparse.csr_matrix | None = None,
    cause: Cause | None = None,
) -> tuple[str, list[str], list[str]]:
    """Return what to do about values that are not counts: text, lines of code, where counts are.

    Parameters
    ----------
    adata
        The cells.
    reader
        Whoever reads the matrix.
    values
        Its first cells, ``(n_cells, n_genes)``; None if there is no matrix.
    cause
        How the values came about.
    """
    whole, parts = sources(adata, reader, values, cause)
    text = [f"{source.place} holds counts: {source.code}." for source in whole]
    code = [source.code for source in whole]
    if not whole and not parts:
        text.append("no layer of adata, nor adata.raw, holds counts: load the unprocessed counts.")
    elif not whole:
        others = ", ".join(f"{source.place}: {source.why_not}" for source in parts)
        text.append(
            "no layer of adata, nor adata.raw, holds all counts: load the unprocessed counts "
            f"({others})."
        )
    if cause is not None and cause.is_estimate:
        code.append(reader.rounds(adata, cause.offset))
        text.append(f"To round the values: {code[-1]}.")
    if values is not None and not reader.is_bound:
        code.append(reader.setup(layer=reader.layer, is_count_data=False))
        text.append(f"If the values are meant to be continuous: {code[-1]}.")
    return " ".join(text), code, [source.name for source in whole]


def _not_finite(
    adata: AnnData, reader: Reader, place: str, survey: Survey, is_count_data: bool
) -> DataError:
    """Return the error for values that are NaN or infinite."""
    fault = survey.not_finite
    problem = f"{place} holds {_values(fault)} {_what(survey)}, {fault.describe(adata)}"
    text, code, counts_in = [], [], []
    are_counts = not (survey.negative.n_values or survey.fractional.n_values)
    if is_count_data:
        cause = None if are_counts else survey.cause()
        whole, _ = sources(adata, reader, survey.sample, cause)
        text = [f"{source.place} holds counts: {source.code}." for source in whole]
        code = [source.code for source in whole]
        counts_in = [source.name for source in whole]
        if cause is not None:
            problem += f" The finite values are no counts either. {cause.sentence}"
    if are_counts or not is_count_data:
        code += _dropped(adata, place, fault)
        text.append(f"Drop what is not finite: {', or '.join(_dropped(adata, place, fault))}.")
    if are_counts and is_count_data:
        text.append("Where they mean no counts, set the values to 0.")
    elif not text:
        text.append("no layer of adata, nor adata.raw, holds counts: load the unprocessed counts.")
    return DataError(problem, remedy=" ".join(text), code=code, counts_in=counts_in)


def _what(survey: Survey) -> str:
    """Say what is wrong with values that are no numbers of float32."""
    return "too large for float32" if survey.is_finite else "NaN or infinite"


def _dropped(adata: AnnData, place: str, fault: Fault) -> list[str]:
    """Return code that drops the genes, and code that drops the cells, with such values."""
    load = f"{place}[:]" if is_on_disk(adata) and place == "adata.X" else place
    code = []
    if not fault.genes.all():
        kept = f"np.abs(np.asarray({load}.sum(axis=0)).ravel()) < 3e38"
        code.append(taken(adata, f":, {kept}"))
    if not fault.cells.all():
        kept = f"np.abs(np.asarray({load}.sum(axis=1)).ravel()) < 3e38"
        code.append(taken(adata, kept))
    return code


def _values(fault: Fault) -> str:
    return "1 value that is" if fault.n_values == 1 else f"{fault.n_values:,} values that are"
