"""What genes are called: names, Ensembl ids with or without a version, symbols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi.errors import MissingKeyError, first_few

#: An Ensembl id with its version, which counts the revisions of one gene.
VERSIONED = r"^(ENS[A-Z]*\d{11})\.\d+$"
#: Share of a column's values that are distinct, from which it may say what genes are called.
DISTINCT = 0.5


@dataclass(frozen=True)
class Match:
    """The genes of a query that are genes of a model, by one kind of name.

    Parameters
    ----------
    query, model
        Where the names are: a column of ``var``, or None for ``var_names``.
    places
        Of each gene of the query its position among the model's genes, -1 for none, shape
        ``(n_query_genes,)``.
    n_ambiguous
        Genes of the model that share their name with another one, so that none of them is found.
    """

    query: str | None
    model: str | None
    places: NDArray[np.integer]
    n_ambiguous: int

    @property
    def n_found(self) -> int:
        """Number of the model's genes that were found."""
        return len(np.unique(self.places[self.places >= 0]))


def best_match(query: pd.DataFrame, model: pd.DataFrame, gene_key: str | None = None) -> Match:
    """Return the match that finds most genes; among equals, that by ``var_names``.

    Parameters
    ----------
    query, model
        Tables of the genes, ``var``. Columns of text are looked at besides the names.
    gene_key
        Column of ``query`` with the names; by default the one that finds most.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If there is no such column.
    """
    names = _all_names(query)
    if gene_key is not None:
        if gene_key not in names:
            raise MissingKeyError(
                f"gene_key={gene_key!r}: there is no such column of text in query.var. "
                f"There are: {first_few(key for key in names if key is not None) or 'none'}.",
                remedy="gene_key=None, or the name of one that exists.",
            )
        names = {gene_key: names[gene_key]}
    expected = _all_names(id_columns(model))
    found = [
        Match(key, own_key, *_places(given, own))
        for key, given in names.items()
        for own_key, own in expected.items()
    ]
    return max(found, key=lambda match: match.n_found)  # the first one of equals


def id_columns(var: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of text that are distinct enough to say what genes are called."""
    columns = {
        key: _text(var[key])
        for key in var
        if _is_text(var[key]) and var[key].nunique() >= DISTINCT * len(var)
    }
    return pd.DataFrame(columns, index=var.index)


def without_versions(names: pd.Index) -> pd.Index:
    """Return names where Ensembl ids have no version, unless two versions of one are there."""
    short = names.str.replace(VERSIONED, r"\1", regex=True)
    pairs = pd.DataFrame({"long": names, "short": short}).drop_duplicates()
    ambiguous = pairs["short"][pairs["short"].duplicated()]
    return short.where(~short.isin(ambiguous), names)


def _all_names(var: pd.DataFrame) -> dict[str | None, pd.Index]:
    """Names of the genes by where they are: ``var_names`` (None) first."""
    names: dict[str | None, pd.Index] = {None: pd.Index(var.index.astype(str))}
    names |= {key: pd.Index(_text(var[key])) for key in var if _is_text(var[key])}
    return {key: without_versions(index) for key, index in names.items()}


def _places(query: pd.Index, model: pd.Index) -> tuple[NDArray[np.integer], int]:
    """Position of each of the query's genes in the model, and how many of its are ambiguous."""
    named = model != ""
    ambiguous = model.duplicated(keep=False) & named
    unique = np.flatnonzero(named & ~ambiguous)
    places = model[unique].get_indexer(query)
    found = np.full(len(query), -1)
    found[places >= 0] = unique[places[places >= 0]]
    return found, int(ambiguous.sum())


def _is_text(column: pd.Series) -> bool:
    values = column.astype(object)
    return pd.api.types.infer_dtype(values, skipna=True) == "string"


def _text(column: pd.Series) -> pd.Series:
    """Values as text; empty, which is no name, where they are missing."""
    return column.astype(object).where(column.notna(), "").astype(str).astype(object)
