"""Writing what was mapped into the query itself: all of it or nothing."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pandas as pd
from anndata import AnnData
from anndata import ImplicitModificationWarning as ImplicitWarning
from mudata import MuData

from lucidvi.data import is_collection
from lucidvi.errors import DataError

logger = logging.getLogger(__name__)


def check_can_be_annotated(query: AnnData) -> None:
    """Raise DataError for cells that nothing can be written to.

    Parameters
    ----------
    query
        The cells.
    """
    if isinstance(query, MuData):
        raise DataError(
            "`query` is a MuData, whose tables `annotate` does not write to.",
            remedy="out = reference.map(query), whose cells are those of the query; and "
            'query.obs["lucidvi_label"] = out.obs["lucidvi_label"].',
        )
    problem = (
        "`query` is a collection of several AnnData, which has no columns of its own."
        if is_collection(query) or not isinstance(query, AnnData)
        else "`query` is a view of cells in a file, to which anndata writes nothing."
        if query.is_view and query.isbacked
        else None
    )
    if problem:
        raise DataError(
            problem,
            remedy="query = query.to_memory(), or `reference.map(query)`, which returns a new "
            "AnnData.",
        )


def annotate(query: AnnData, mapped: AnnData) -> dict[str, list[str]]:
    """Write what a mapping added to ``obs``, ``obsm`` and ``uns`` into the query.

    Parameters
    ----------
    query
        The cells; a view becomes an AnnData of its own. Whatever is raised, it has the columns
        and arrays that it had before.
    mapped
        The same cells, as :meth:`lucidvi.atlas.Reference.map` returned them.

    Returns
    -------
    Names of what was written, by the slot that it is in.
    """
    obs = mapped.obs.copy()
    columns = [str(name) for name in obs if str(name).startswith("lucidvi_")]
    before = {"obs": query.obs, "obsm": dict(query.obsm), "uns": dict(query.uns)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitWarning)  # of views, which is what is asked for
        try:
            for key, values in mapped.obsm.items():
                query.obsm[key] = values
            query.uns.update(mapped.uns)
            query.obs = obs
        except BaseException:
            _restore(query, before)
            raise
    written = {"obs": columns, "obsm": list(mapped.obsm), "uns": list(mapped.uns)}
    said = ", ".join(f"{slot}[{name!r}]" for slot, names in written.items() for name in names)
    logger.info("Written to the query: %s.", said)
    return written


def _restore(query: AnnData, before: dict[str, Any]) -> None:
    """Put back what was there."""
    obs: pd.DataFrame = before["obs"]
    query.obs = obs
    for slot in ("obsm", "uns"):
        stored = getattr(query, slot)
        for key in set(stored) - set(before[slot]):
            del stored[key]
        for key, value in before[slot].items():
            stored[key] = value
