"""Which of the model's genes a query has, and how much of what matters they are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scvi
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.atlas.mapping._gene_names import best_match
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.errors import DataError, GeneMismatchError, first_few

#: Columns of the reference's ``var``: share of all counts, and nats a count about the cell.
EXPRESSION, INFORMATION = "lucidvi_expression", "lucidvi_information"
#: Cells and batches by which genes are weighed, at most.
N_WEIGHED, N_BATCHES = 2_000, 8


@dataclass(frozen=True)
class MeasuredGenes:
    """The model's genes that a query has.

    Parameters
    ----------
    selection
        Zeros and ones, shape ``(n_query_genes, n_model_genes)``: counts times this are the counts
        of the model's genes in its order, with zeros for those that are missing.
    mask
        Which of the model's genes are there, shape ``(n_model_genes,)``.
    matched_by
        Where their names were found.
    n_summed
        Genes whose counts are sums over several genes of the query.
    n_ambiguous
        Genes that were not looked for, because others of the model have the same name.
    """

    selection: sparse.csr_matrix
    mask: NDArray[np.bool_]
    matched_by: str = "var_names"
    n_summed: int = 0
    n_ambiguous: int = 0


def measured_genes(
    query: pd.DataFrame, model: pd.DataFrame, gene_key: str | None = None
) -> MeasuredGenes:
    """Find the model's genes among a query's, by the names that find most of them.

    Parameters
    ----------
    query
        Table of the query's genes, ``var``: names, and possibly columns with other ones.
    model
        The same of the model's genes.
    gene_key
        Column of ``query`` with the names; by default the one that finds most.

    Raises
    ------
    lucidvi.errors.GeneMismatchError
        If there is none.
    lucidvi.errors.DataError
        If ``query.var_names`` has one of them twice. In another column that is no error: symbols
        are shared by several Ensembl ids, and their counts are added up.
    lucidvi.errors.MissingKeyError
        If there is no such column.

    Warns
    -----
    UserWarning
        If genes are missing that differ in upper and lower case only, or if others than
        ``query.var_names`` were taken without being asked for.
    """
    match = best_match(query, model, gene_key)
    found = np.flatnonzero(match.places >= 0)
    n_rows = np.bincount(match.places[found], minlength=len(model))
    mask = n_rows > 0
    place = "query.var_names" if match.query is None else f'query.var["{match.query}"]'
    if match.query is None:
        _check_not_repeated(query.index[found])
    given = query.index if match.query is None else pd.Index(query[match.query].dropna())
    expected = pd.Index(model.index.astype(str))
    respelled = _respelled(given.astype(str), expected[~mask]) if match.model is None else ""
    if not mask.any():
        others = "" if gene_key or query.columns.empty else ", nor has any column of query.var"
        raise GeneMismatchError(
            f"{place} has none of the model's {len(expected):,} genes{others}: it has "
            f"{first_few(given)}, the model has {first_few(expected)}.{respelled}",
            remedy="name the query's genes as the model does: query.var_names = ..., or in a "
            "column of query.var.",
        )
    if respelled:
        _warn(f"The query lacks {(~mask).sum():,} genes of the model.{respelled}")
    if match.query != gene_key:
        _warn(
            f"{mask.sum():,} of the model's {len(expected):,} genes are found by {place}, more "
            f"than by query.var_names. If that is right, say so: gene_key={match.query!r}."
        )
    own = "" if match.model is None else f' as the model\'s var["{match.model}"]'
    return MeasuredGenes(
        selection=sparse.csr_matrix(
            (np.ones(len(found), np.float32), (found, match.places[found])),
            shape=(len(query), len(model)),
        ),
        mask=mask,
        matched_by=place.removeprefix("query.") + own,
        n_summed=int((n_rows > 1).sum()),
        n_ambiguous=match.n_ambiguous,
    )


def gene_weights(model: Any) -> pd.DataFrame:
    r"""Weigh the model's genes by their counts and by what a count says about the cell.

    Of the decoded normalized expression :math:`\rho_{cg}`, each cell decoded in the same batches,
    of which the mean is taken, the weights are
    :math:`\bar\rho_g` and the gene's part of the mutual information between the cell and the gene
    that a count falls on:

    .. math::
        \mathrm{E}_c\left[\rho_{cg} \log \frac{\rho_{cg}}{\bar\rho_g}\right],
        \quad \bar\rho_g = \mathrm{E}_c[\rho_{cg}]

    Parameters
    ----------
    model
        Trained model with its data, of which at most 2,000 cells and 8 batches are taken.

    Returns
    -------
    A row a gene, the shares of the two sums.
    """
    setup = Setup.of(model)
    measured = model._batches_with(setup.main.key)
    batches = [setup.batches[measured[i]] for i in _spread(len(measured), N_BATCHES)]
    rho = model.get_normalized_expression(
        indices=_spread(model.adata.n_obs, N_WEIGHED),
        transform_batch=batches if len(batches) > 1 else None,
        return_numpy=True,
    )
    mean = rho.mean(axis=0, dtype=np.float64)
    tiny = np.finfo(rho.dtype).tiny
    # Each gene's part is a divergence, hence not negative but for rounding.
    ratio = np.maximum(rho, tiny) / np.maximum(mean, tiny).astype(rho.dtype)
    nats = np.multiply(rho, np.log(ratio, out=ratio), out=ratio).mean(axis=0, dtype=np.float64)
    nats = np.maximum(nats, 0)
    weights = {
        EXPRESSION: mean / mean.sum(),
        INFORMATION: nats / max(nats.sum(), tiny),
    }
    return pd.DataFrame(weights, index=setup.genes)


def _spread(n: int, limit: int) -> NDArray[np.integer]:
    """At most ``limit`` of ``n`` positions, evenly spread."""
    return np.unique(np.linspace(0, n - 1, limit).astype(int))


def _check_not_repeated(names: pd.Index) -> None:
    """Raise DataError if a query has a gene of the model twice."""
    if names.is_unique:
        return
    repeated = names[names.duplicated()].unique()
    raise DataError(
        f"query.var_names has {len(repeated):,} genes of the model more than once: "
        f"{first_few(repeated)}.",
        remedy="keep one of each, query = query[:, ~query.var_names.duplicated()].copy(), or add "
        'up their counts: query.var["name"] = query.var_names, and gene_key="name".',
    )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=scvi.settings.warnings_stacklevel)


def _respelled(names: pd.Index, missing: pd.Index) -> str:
    """Say which missing genes are there in another case, if any are."""
    by_lower_case = {name.lower(): name for name in names}
    found = [name for name in missing if name.lower() in by_lower_case]
    if not found:
        return ""
    return (
        f" {len(found):,} of them differ in upper and lower case only: "
        f"{by_lower_case[found[0].lower()]!r} in the query is {found[0]!r} in the model."
    )
