"""Which features were measured in which batch: as it was said, or found and asked about."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.checks import did_you_mean, listed
from lucidvi.data.modalities._panels import ABSENT, Panels
from lucidvi.data.mosaic._specification import Specification
from lucidvi.errors import DataError, first_few

logger = logging.getLogger(__name__)

#: Zeros of a whole batch are a question where they were less likely than this, if the cells of the
#: batch had a feature as often as those of other batches that have it at all.
CHANCE = 0.01
#: Share of the cells without any count from which on these are a question, too: a few cells are
#: of poor quality, and have none.
SEVERAL = 0.05
#: Batches of which an error lists features.
MOST_BATCHES = 5


def measured_panels(
    specification: Specification,
    counts: sparse.csr_matrix,
    features: pd.Index,
    panels: Panels,
    batches: pd.Series | None,
    *,
    of_model: bool = False,
) -> Panels:
    """Return what was measured in the cells of a modality.

    Parameters
    ----------
    specification
        What was said of the modality.
    counts
        Its counts, shape ``(n_cells, n_features)``.
    features
        Names of its features.
    panels
        What is known to have been measured.
    batches
        Batch of each cell, shape ``(n_cells,)``; None if all cells are of one.
    of_model
        Whether it was said of the cells of a model, so that these may have other batches.

    Raises
    ------
    lucidvi.errors.DataError
        If it is an open question whether zeros of a whole batch were measured, or what was said
        does not fit the data.
    """
    measured = specification.measured
    is_all = isinstance(measured, str) and measured == "all"
    if is_all or (measured is None and not specification.has_panels):
        return panels
    by_batch = _panels_of_batches(specification, counts, features, panels, batches, of_model)
    if isinstance(measured, Mapping | pd.DataFrame):
        return by_batch
    return _of_cells_with_counts(specification, counts, by_batch, of_model)


def _panels_of_batches(
    specification: Specification,
    counts: sparse.csr_matrix,
    features: pd.Index,
    panels: Panels,
    batches: pd.Series | None,
    of_model: bool,
) -> Panels:
    measured = specification.measured
    if batches is None:
        if isinstance(measured, Mapping | pd.DataFrame):
            raise DataError(
                f'`{specification.argument}["measured"]` says what each batch measured, but '
                "there is no `batch_key`.",
                remedy='batch_key="batch", the column that names the batches.',
            )
        return panels
    codes, names = pd.factorize(batches.astype(str))
    if measured is None or isinstance(measured, str):
        table = ~_without_count(counts, panels, codes, len(names))
        if measured is None and not table.all():
            raise _open_question(specification, features, names, table)
        if not table.all():
            logger.info("%s", _said(specification, features, names, table))
    else:
        table = _given(specification, features, names, of_model)
    return panels & Panels(codes, table)


def _of_cells_with_counts(
    specification: Specification, counts: sparse.csr_matrix, panels: Panels, of_model: bool
) -> Panels:
    """Ask about cells without a single count that should have some, or take them as said."""
    rows = _without_any(counts, panels)
    if not rows.any():
        return panels
    name, n = specification.name, f"{int(rows.sum()):,}"
    of = f"{n} of {int(panels.present.sum()):,} cells"
    if specification.measured is None and not of_model:
        as_zeros, as_missing = (specification.changed(measured=word) for word in ("all", "found"))
        raise DataError(
            f"The modality {name!r} has not a single count in {of}, which others let expect. Was "
            "it measured there?",
            remedy=f"if it was, and all are true zeros: {as_zeros}. If not: {as_missing}.",
            code=[as_zeros, as_missing],
        )
    logger.info("The modality %r: %s without a single count are taken not to have it.", name, of)
    return Panels(np.where(rows, ABSENT, panels.codes).astype(np.int32), panels.table).tidy()


def _without_any(counts: sparse.csr_matrix, panels: Panels) -> NDArray[np.bool_]:
    """Return which cells of a modality have no count of it though some are all but certain.

    Some are where it is less likely than :data:`CHANCE` that of all the cells a single one has
    none, were each feature there in it as often as in other cells. None are returned where they
    are fewer than :data:`SEVERAL` of the cells.
    """
    present = panels.present
    rows = present & (np.diff(counts.indptr) == 0) if counts.nnz else present & False
    if not rows.any():
        return rows
    others = present & ~rows
    measured = np.bincount(panels.codes[others], minlength=len(panels.table)) @ panels.table
    share = np.ravel((counts[others] > 0).sum(axis=0)) / np.clip(measured, 1, None)
    log_none = panels.with_absent @ np.log1p(-np.clip(share, 0, 1 - 1e-12))
    certain = log_none[panels.codes] + np.log(max(present.sum(), 1)) < np.log(CHANCE)
    rows = rows & certain
    return rows if rows.sum() >= SEVERAL * present.sum() else rows & False


def without_unmeasured(counts: sparse.csr_matrix, panels: Panels, name: str) -> sparse.csr_matrix:
    """Return counts without those that were said not to have been measured.

    Parameters
    ----------
    counts
        Shape ``(n_cells, n_features)``.
    panels
        What was measured.
    name
        Name of the modality, for a message.
    """
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    kept = panels.with_absent[panels.codes[rows], counts.indices]
    strange = ~kept & (counts.data != 0)
    if not strange.any():
        return counts
    logger.info(
        "The modality %r: %s counts of %s cells are left out, of features that were not measured "
        "there, as you say.",
        name,
        f"{int(counts.data[strange].sum()):,}",
        f"{len(np.unique(rows[strange])):,}",
    )
    counts = counts.copy()
    counts.data[~kept] = 0
    counts.eliminate_zeros()
    return counts


def _without_count(
    counts: sparse.csr_matrix, panels: Panels, codes: NDArray[np.integer], n_batches: int
) -> NDArray[np.bool_]:
    """Return which features have no count in a batch where others let one expect some.

    Of a feature that is rare everywhere, a batch without it is no surprise: it is zero there.

    Parameters
    ----------
    counts
        Counts, shape ``(n_cells, n_features)``.
    panels
        What is known to have been measured.
    codes, n_batches
        Batch of each cell, shape ``(n_cells,)``, and how many there are.

    Returns
    -------
    Shape ``(n_batches, n_features)``.
    """
    of_batch = sparse.csr_matrix(
        (np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_batches, len(codes))
    )
    n_positive = (of_batch @ (counts > 0)).toarray()
    n_of_panel = np.zeros((n_batches, len(panels.table) + 1))
    np.add.at(n_of_panel, (codes, panels.codes), 1)
    n_cells = n_of_panel @ panels.with_absent
    has_some = n_positive > 0
    elsewhere = np.where(has_some, n_cells, 0).sum(axis=0).clip(min=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_chance = n_cells * np.log1p(-n_positive.sum(axis=0) / elsewhere)
    return ~has_some & (n_cells > 0) & (log_chance < np.log(CHANCE))


def _by_batch(features: pd.Index, names: pd.Index, table: NDArray[np.bool_]) -> str:
    """Return a text of the features that each batch is without."""
    batches = np.flatnonzero(~table.all(axis=1))
    parts = [
        f"batch {str(names[b])!r} has none of {(~table[b]).sum():,} "
        f"({first_few(features[~table[b]])})"
        for b in batches[:MOST_BATCHES]
    ]
    more = f"; {len(batches) - MOST_BATCHES:,} more batches" if len(batches) > MOST_BATCHES else ""
    return "; ".join(parts) + more


def _open_question(
    specification: Specification, features: pd.Index, names: pd.Index, table: NDArray[np.bool_]
) -> DataError:
    as_zeros, as_missing = (specification.changed(measured=word) for word in ("all", "found"))
    return DataError(
        f"The modality {specification.name!r} has features without a single count in a whole "
        f"batch, which other batches have: {_by_batch(features, names, table)}. Were they "
        "measured there?",
        remedy=f"if they were, and are true zeros: {as_zeros}. If they were not in the panel of "
        f"that batch: {as_missing}. Or name what each batch measured: "
        f'"measured": {{batch: [features]}}.',
        code=[as_zeros, as_missing],
    )


def _said(
    specification: Specification, features: pd.Index, names: pd.Index, table: NDArray[np.bool_]
) -> str:
    return (
        f"The modality {specification.name!r}: features without a count in a whole batch "
        f"are taken as not measured there: {_by_batch(features, names, table)}."
    )


def _given(
    specification: Specification, features: pd.Index, names: pd.Index, of_model: bool
) -> NDArray[np.bool_]:
    """Return what was said of each batch, shape ``(n_batches, n_features)``.

    All is measured in a batch of which nothing is said.
    """
    argument = f'`{specification.argument}["measured"]`'
    table = np.ones((len(names), len(features)), dtype=bool)
    known = list(map(str, names))
    for batch, listed_features in specification.measured_by_batch().items():
        if str(batch) not in known:
            if of_model:
                continue
            raise DataError(
                f"{argument} names the batch {batch!r}, which has no cell of the modality.",
                remedy=did_you_mean(batch, known, f"there are {listed(known)}."),
            )
        if isinstance(listed_features, str):
            raise DataError(
                f"{argument} of batch {batch!r} is {listed_features!r}, one text.",
                remedy="Give a list of names of features.",
            )
        positions = features.get_indexer(pd.Index(listed_features, dtype=object))
        if (positions < 0).any():
            strange = list(listed_features)[int(np.argmax(positions < 0))]
            raise DataError(
                f"{argument} of batch {batch!r} names {strange!r}, which is no feature of the "
                "modality.",
                remedy=did_you_mean(strange, list(features), f"there are {listed(features)}."),
            )
        row = table[known.index(str(batch))]
        row[:] = False
        row[positions] = True
    return table
