"""Whether the counts of each modality can be joined: one error for each thing that is wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scvi
from mudata import MuData
from scipy import sparse

from lucidvi.data._remedies import Reader, quoted
from lucidvi.data.checks._counts import check_counts
from lucidvi.data.checks._modalities import X, counts_of_modality, relocated
from lucidvi.data.modalities._panels import Panels
from lucidvi.data.mosaic._source import Source, check_names_of_cells
from lucidvi.errors import DataError, first_few

#: Cells by which counts of reads are told from those of fragments, fewest counts, and how many
#: even ones come on an odd one: of fragments about one or less, whatever their mean.
N_CELLS_OF_READS, N_COUNTS_OF_READS, MOSTLY_EVEN = 2000, 100, 2
#: How errors call the AnnData of a modality.
OWNER = r"\badata\b"


def check_source(source: Source) -> None:
    """Raise unless a modality has cells, names that are unique, and counts.

    Parameters
    ----------
    source
        Where its counts are.

    Raises
    ------
    lucidvi.errors.DataError
        It names the place, the value and the remedy.
    """
    _check_size(source)
    _check_features(source)
    if source.owner.startswith("mdata"):
        check_names_of_cells(source.obs_names, f"{source.owner}.obs_names")
    _check_values(source)
    if source.specification.counts_fragments and source.specification.likelihood != "bernoulli":
        _warn_of_reads(source)


def _warn_of_reads(source: Source) -> None:
    """Warn where counts come in pairs, as those of reads do, of which a fragment gives two."""
    values = sparse.csr_matrix(source.matrix[:N_CELLS_OF_READS]).data
    odd = int((values % 2 == 1).sum())
    even = int((values > 0).sum()) - odd
    if odd + even < N_COUNTS_OF_READS or even < MOSTLY_EVEN * odd:
        return
    code = f"{source.place}.data = np.ceil({source.place}.data / 2)"
    warnings.warn(
        f"The modality {source.name!r}: {even:,} counts are even and {odd:,} odd, so these are "
        "counts of reads, of which each fragment gives two, and the likelihood is one of "
        f"fragments. If they are sparse: {code}",
        UserWarning,
        stacklevel=scvi.settings.warnings_stacklevel,
    )


def _check_size(source: Source) -> None:
    n_cells, n_features = len(source.panels.codes), len(source.features)
    if n_cells and n_features:
        return
    what = "cell" if n_features else "feature"
    raise DataError(
        f"The modality {source.name!r} has no {what}: nothing was measured in {source.place}.",
        remedy=f"leave it out of `modalities`, or check the filters of {source.owner}.",
    )


def _check_features(source: Source) -> None:
    names = source.features
    if names.is_unique:
        return
    repeated = names[names.duplicated()].unique()
    remedy = f"{source.owner}.var_names_make_unique()"
    if source.cells is None:
        remedy = "give each column a name of its own."
    raise DataError(
        f"The modality {source.name!r} has {len(repeated):,} names of features that occur more "
        f"than once: {first_few(repeated)}.",
        remedy=remedy,
        code=[remedy] if "(" in remedy else [],
    )


def _check_values(source: Source) -> None:
    specification = source.specification
    n_cells = len(source.panels.codes)
    may_be_empty = None if specification.needs_counts else np.ones(n_cells, dtype=bool)
    cells, layer, names = source.cells, specification.layer, (OWNER, source.owner)
    if cells is None:
        cells = counts_of_modality(source.matrix, source.obs_names, source.features)
        layer, names = None, (X, source.place)
    reader = Reader(layer=layer, is_bound=True)
    try:
        check_counts(cells, layer, reader=reader, may_be_empty=may_be_empty)
    except DataError as error:
        raise _told(relocated(error, *names), source) from None


def _told(error: DataError, source: Source) -> DataError:
    """Return an error of counts that names the modality, and whose code keeps mdata up to date."""
    is_of_mudata = source.owner.startswith("mdata")
    replaced = re.compile(rf"^{re.escape(source.owner)} = |filter_cells|filter_genes")

    def complete(line: str) -> str:
        changes_cells = is_of_mudata and replaced.search(line)
        return f"{line}; mdata.update()" if changes_cells else line

    code = [complete(line) for line in error.code]
    remedy = error.remedy
    for before, after in zip(error.code, code, strict=True):
        remedy = remedy.replace(before, after)
    return type(error)(
        f"The modality {source.name!r}: {error.problem}",
        remedy=remedy,
        code=code,
        counts_in=error.counts_in,
    )


def check_pairing(mdata: MuData, made: Mapping[str, Source]) -> None:
    """Raise DataError unless all cells of the modalities are cells of the MuData.

    Parameters
    ----------
    mdata
        The cells.
    made
        Where the counts of its modalities are, by name.
    """
    for source in made.values():
        strange = source.obs_names.difference(mdata.obs_names)
        if len(strange):
            raise _strangers(mdata, source, strange)


def _strangers(mdata: MuData, source: Source, strange: pd.Index) -> DataError:
    problem = (
        f"{source.owner} has {len(strange):,} cells that mdata.obs_names does not have: "
        f"{first_few(strange)}."
    )
    if mdata.is_view:
        return DataError(
            f"{problem} A modality was changed before these cells were taken of a MuData, which "
            "took others there.",
            remedy="call update() of that MuData, and take the cells of it again.",
        )
    again = f"mdata = mudata.MuData({{{_copies(mdata)}}})"
    return DataError(
        f"{problem} They were renamed or added after mdata was made.", remedy=again, code=[again]
    )


def _copies(mdata: MuData) -> str:
    return ", ".join(f"{quoted(name)}: mdata.mod[{quoted(name)}].copy()" for name in mdata.mod)


def check_libraries(source: Source, counts: sparse.csr_matrix, panels: Panels) -> None:
    """Raise DataError if a cell has no count of the features that were measured.

    Parameters
    ----------
    source
        The modality.
    counts
        Its counts, shape ``(n_cells, n_features)``.
    panels
        What was measured in these cells.
    """
    if not source.specification.needs_counts:
        return
    empty = np.flatnonzero(panels.present & (np.asarray(counts.sum(axis=1)).ravel() == 0))
    if not empty.size:
        return
    names = source.obs_names[empty]
    few = quoted(list(map(str, names[:20])))
    owner = source.owner
    keep = f"{owner} = {owner}[~{owner}.obs_names.isin({few})].copy()"
    keep += "; mdata.update()" if owner.startswith("mdata") else ""
    raise DataError(
        f"The modality {source.name!r}: {empty.size:,} of {len(panels.codes):,} cells have not a "
        f"single count of the features that were measured and that the model has: "
        f"{first_few(names)}. Their library would be zero.",
        remedy=f"drop them there: {keep}" + (" and so on." if empty.size > 20 else ""),
        code=[keep] if empty.size <= 20 else [],
    )


def check_something(names: pd.Index, has_counts: np.ndarray, data: str) -> None:
    """Raise DataError if a cell has not a count in any modality.

    Parameters
    ----------
    names
        Names of the cells.
    has_counts
        Whether a cell has a count in some modality, shape ``(n_cells,)``.
    data
        What the cells are called: ``"mdata"`` or ``"adata"``.
    """
    empty = np.flatnonzero(~has_counts)
    if not empty.size:
        return
    few = list(map(str, names[empty[:20]]))
    keep = f"{data} = {data}[~{data}.obs_names.isin({quoted(few)})].copy()"
    raise DataError(
        f"{empty.size:,} of {len(names):,} cells have not a single count in any modality: "
        f"{first_few(names[empty])}. Nothing can be inferred about them.",
        remedy=f"drop them: {keep}"
        + (
            " and so on."
            if empty.size > len(few)
            else "; or mdata.update(), if a modality was filtered."
            if data == "mdata"
            else ""
        ),
        code=[keep] if empty.size <= len(few) else [],
    )
