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
    """

    selection: sparse.csr_matrix
    mask: NDArray[np.bool_]


def measured_genes(query: pd.Index, expected: pd.Index) -> MeasuredGenes:
    """Find the model's genes among a query's, by name.

    Parameters
    ----------
    query
        Names of the query's genes.
    expected
        Names of the model's genes.

    Raises
    ------
    lucidvi.errors.GeneMismatchError
        If there is none.
    lucidvi.errors.DataError
        If the query has one of them twice.

    Warns
    -----
    UserWarning
        If genes are missing that differ in upper and lower case only.
    """
    names = pd.Index(query.astype(str))
    expected = pd.Index(expected.astype(str))
    shared = names[names.isin(expected)]
    if not shared.is_unique:
        repeated = shared[shared.duplicated()].unique()
        raise DataError(
            f"query.var_names has {len(repeated):,} genes of the model more than once: "
            f"{first_few(repeated)}.",
            remedy="keep one of each, query = query[:, ~query.var_names.duplicated()].copy(), or "
            "add up their counts.",
        )
    places = names.get_indexer(expected) if names.is_unique else _first_places(names, expected)
    mask = places >= 0
    respelled = _respelled(names, expected[~mask])
    if not mask.any():
        raise GeneMismatchError(
            f"query.var_names has none of the model's {len(expected):,} genes: it has "
            f"{first_few(names)}, the model has {first_few(expected)}.{respelled}",
            remedy="name the query's genes as the model does: query.var_names = ...",
        )
    if respelled:
        message = f"The query lacks {(~mask).sum():,} genes of the model.{respelled}"
        warnings.warn(message, UserWarning, stacklevel=scvi.settings.warnings_stacklevel)
    columns = np.flatnonzero(mask)
    selection = sparse.csr_matrix(
        (np.ones(len(columns), np.float32), (places[mask], columns)),
        shape=(len(names), len(expected)),
    )
    return MeasuredGenes(selection, mask)


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
    cells = _spread(model.adata.n_obs, N_WEIGHED)
    batches = model.registry["field_registries"]["batch"]["state_registry"]["categorical_mapping"]
    chosen = [batches[i] for i in _spread(len(batches), N_BATCHES)]
    rho = model.get_normalized_expression(
        indices=cells, transform_batch=chosen if len(chosen) > 1 else None, return_numpy=True
    ).astype(np.float64)
    mean = rho.mean(axis=0)
    tiny = np.finfo(np.float64).tiny
    # Each gene's part is a divergence, hence not negative but for rounding.
    nats = (rho * np.log(np.maximum(rho, tiny) / np.maximum(mean, tiny))).mean(axis=0)
    nats = np.maximum(nats, 0)
    weights = {
        EXPRESSION: mean / mean.sum(),
        INFORMATION: nats / max(nats.sum(), tiny),
    }
    return pd.DataFrame(weights, index=pd.Index(model.get_var_names()).astype(str))


def _spread(n: int, limit: int) -> NDArray[np.integer]:
    """At most ``limit`` of ``n`` positions, evenly spread."""
    return np.unique(np.linspace(0, n - 1, limit).astype(int))


def _first_places(names: pd.Index, expected: pd.Index) -> NDArray[np.integer]:
    """Positions of genes that are unique among names that are not."""
    first = np.flatnonzero(~names.duplicated())
    places = names[first].get_indexer(expected)
    return np.where(places >= 0, first[places], -1)


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
