"""Features of a modality by the names that a model has for them."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from scipy import sparse

from lucidvi.data._remedies import quoted
from lucidvi.data.modalities._panels import Panels
from lucidvi.data.mosaic._source import Source
from lucidvi.errors import GeneMismatchError, first_few

logger = logging.getLogger(__name__)


def aligned(
    source: Source, counts: sparse.csr_matrix, features: pd.Index
) -> tuple[sparse.csr_matrix, Panels]:
    """Return the counts and panels of a model's features, in its order.

    Features that the data lack were not measured; others of the data are left out.

    Parameters
    ----------
    source
        Where the counts are.
    counts
        Counts, shape ``(n_cells, n_own_features)``.
    features
        Names of the model's features.

    Raises
    ------
    lucidvi.errors.GeneMismatchError
        If not one feature is common to both.
    """
    if source.features.equals(features):
        return counts, source.panels
    positions = source.features.get_indexer(features)
    found = np.flatnonzero(positions >= 0)
    if not len(found):
        raise _nothing_common(source, features)
    logger.info(
        "The modality %r: %s of the model's %s features were measured; %s others are left out.",
        source.name,
        f"{len(found):,}",
        f"{len(features):,}",
        f"{len(source.features) - len(found):,}",
    )
    columns = np.ones(len(found), np.float32), (positions[found], found)
    selection = sparse.csr_matrix(columns, shape=(len(source.features), len(features)))
    table = np.zeros((len(source.panels.table), len(features)), dtype=bool)
    table[:, found] = source.panels.table[:, positions[found]]
    return sparse.csr_matrix(counts @ selection), Panels(source.panels.codes, table).tidy()


def _nothing_common(source: Source, features: pd.Index) -> GeneMismatchError:
    own = source.features
    problem = (
        f"The modality {source.name!r} has no feature of the model: it has {first_few(own, 3)}, "
        f"and the model {first_few(features, 3)}."
    )
    names = f"{source.owner}.var_names"
    candidates = {
        f"{names} = {names}.str.upper()": own.str.upper(),
        f"{names} = {names}.str.capitalize()": own.str.capitalize(),
    }
    prefix = _prefix(own)
    if prefix:
        problem += f" Its names begin with {prefix!r}, which `mdata.var_names_make_unique()` adds."
        candidates = {
            f"{names} = {names}.str.removeprefix({quoted(prefix)})": own.str.removeprefix(prefix)
        }
    prefix = _prefix(features)
    if prefix:
        problem += f" The model's names begin with {prefix!r}."
        candidates[f"{names} = {quoted(prefix)} + {names}"] = prefix + own
    for code, renamed in candidates.items():
        if source.cells is not None and features.isin(renamed).any():
            code += "; mdata.update()" if source.owner != "adata" else ""
            return GeneMismatchError(problem, remedy=code, code=[code])
    return GeneMismatchError(
        problem, remedy="give the features the names that they have in the model."
    )


def _prefix(names: pd.Index) -> str:
    """Return what all names begin with, up to a colon; empty if there is no such text."""
    prefixes = {name.partition(":")[0] for name in map(str, names)}
    return f"{prefixes.pop()}:" if len(prefixes) == 1 and all(":" in str(n) for n in names) else ""
