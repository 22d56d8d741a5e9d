"""Reading a query: checked, and with the model's genes and columns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.atlas.mapping._counts import ModelCounts
from lucidvi.atlas.mapping._genes import measured_genes
from lucidvi.atlas.mapping._modalities import measured_modalities
from lucidvi.atlas.mapping._query import Query
from lucidvi.atlas.mapping._query_columns import query_columns
from lucidvi.atlas.mapping._query_reader import QueryReader
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.data import check_counts, is_raw, of_raw
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError, first_few

#: Warnings for whoever trains on a query.
FOR_TRAINING = ("Training this model on the query cannot move", ".* has fewer than 3 cells")
#: What to do where ``query.raw`` is at fault, of which no value can be changed.
NOT_IN_RAW = (
    "name the layer that holds the counts, layer=..., or, if cells are empty, leave them out: "
    "query = query[np.asarray(query.raw.X[:].sum(axis=1)).ravel() > 0].to_memory()"
)


def read_query(
    query: AnnData,
    model: Any,
    batch_key: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    var: pd.DataFrame | None = None,
) -> Query:
    """Check a query and bring it into the form of a model's data.

    Parameters
    ----------
    query
        The cells. Nothing in it is changed; counts in a file are read part by part.
    model
        Model of the reference.
    batch_key
        Column of ``query.obs`` with the batches, by default the one of the reference.
    layer
        Layer with the counts, or ``"raw"`` for ``query.raw``; by default the one of the reference
        where the query has it, else ``query.X``.
    gene_key
        Column of ``query.var`` with names of genes; by default the one, or ``var_names``, that
        finds most of the model's.
    var
        Table of the model's genes, if they have other names too.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError, lucidvi.errors.GeneMismatchError
        Whatever is wrong with the query.
    """
    setup = Setup.of(model)
    has_layer = setup.layer in query.layers
    layer = setup.layer if layer is None and has_layer else layer
    var = pd.DataFrame(index=setup.genes) if var is None else var
    use_raw = is_raw(query, layer)
    whole, (query, layer) = query, (of_raw(query), None) if use_raw else (query, layer)
    reader = QueryReader(
        layer=layer,
        arguments={"batch_key": batch_key, "gene_key": gene_key},
        own_layer=setup.layer if setup.layer in query.layers else None,
    )
    with errors_name():
        if 0 not in query.shape:  # what is quick comes first: of counts every value is looked at
            obs, new_batches = query_columns(query.obs, setup, batch_key)
            measured = measured_genes(query.var, var, gene_key)
    with errors_name("query.raw" if use_raw else "query"):
        check_counts(query, layer, setup.is_count_data, reader=reader)
    modalities = measured_modalities(whole, setup, None if use_raw else measured)
    matrix = query.X if layer is None else query.layers[layer]
    cells = Query(
        obs=obs,
        counts=ModelCounts(matrix, measured.selection),
        measured=measured,
        new_batches=new_batches,
        setup=setup,
        modalities=modalities,
    )
    if setup.is_count_data:
        _check_not_empty(query, cells.totals)
    return cells


@contextmanager
def nothing_is_trained() -> Iterator[None]:
    """Leave out what is said to whoever trains on cells."""
    with warnings.catch_warnings():
        for message in FOR_TRAINING:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def errors_name(name: str = "query") -> Iterator[None]:
    """Let errors call an AnnData by the name that it has for the user, in place of ``adata``.

    Parameters
    ----------
    name
        The name, as code.
    """
    try:
        yield
    except (DataError, MissingKeyError, ModelTypeError) as error:
        texts = (error.problem, error.remedy, *error.code)
        problem, remedy, *code = (re.sub(r"\badata\b", name, text) for text in texts)
        if name != "query":
            raise type(error)(problem, remedy=NOT_IN_RAW) from error
        raise type(error)(problem, remedy=remedy, code=code, counts_in=error.counts_in) from error


def _check_not_empty(query: AnnData, totals: NDArray[np.floating]) -> None:
    """Raise DataError for cells of which nothing was counted."""
    empty = np.flatnonzero(totals == 0)
    if empty.size:
        raise DataError(
            f"{empty.size:,} of {query.n_obs:,} cells have no count of the model's genes: "
            f"{first_few(query.obs_names[empty])}. Nothing can be inferred about them.",
            remedy="leave them out, or map counts of more of the model's genes.",
        )
