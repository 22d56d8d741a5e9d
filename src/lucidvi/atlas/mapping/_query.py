"""A query, checked, with the model's genes and columns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS

from lucidvi.atlas.mapping._counts import ModelCounts
from lucidvi.atlas.mapping._genes import MeasuredGenes, measured_genes
from lucidvi.atlas.mapping._query_reader import QueryReader
from lucidvi.data import (
    COLUMN_LISTS,
    Column,
    category_text,
    check_columns_of_query,
    check_counts,
    check_obs,
    is_raw,
    matched_codes,
    named_columns,
    of_raw,
)
from lucidvi.errors import DataError, MissingKeyError, first_few

#: Warnings for whoever trains on a query.
NOT_HERE = ("Training this model on the query cannot move", ".* has fewer than 3 cells")
#: Counts of the model's genes, zeros included, that are held at a time, and what the number of
#: cells in a part is a multiple of, so that minibatches are those of the query in one part.
PART, MULTIPLE = 2**25, 1_024
#: Parts' worth of cells that new batches are learned from.
N_SAMPLED = 4
SEED = 0
#: What to do where ``query.raw`` is at fault, of which no value can be changed.
NOT_IN_RAW = (
    "name the layer that holds the counts, layer=..., or, if cells are empty, leave them out: "
    "query = query[np.asarray(query.raw.X[:].sum(axis=1)).ravel() > 0].to_memory()"
)
#: How many times as deep as the reference a batch has to be to be thinned, by its median cell; and
#: counts of a cell that are left at least.
DEEPER, FEWEST = 3.0, 100


@dataclass(frozen=True)
class Query:
    """Cells as a model reads them, part by part.

    Parameters
    ----------
    obs
        The columns that the model was set up with.
    counts
        Counts of the model's genes (zero where they were not measured).
    measured
        Which of the model's genes were measured, and by which name they were found.
    new_batches
        Batches that the model does not know.
    names
        Names of the model's genes.
    batch_key, layer
        Where the model looks for batches and counts; None for nowhere and for ``X``.
    kept
        Share of each cell's counts that is kept, shape ``(n_cells,)``; None for all.
    """

    obs: pd.DataFrame
    counts: ModelCounts
    measured: MeasuredGenes
    new_batches: list[str]
    names: pd.Index
    batch_key: str | None
    layer: str | None
    kept: NDArray[np.floating] | None = None

    @property
    def genes(self) -> NDArray[np.bool_]:
        """Which of the model's genes were measured, shape ``(n_genes,)``."""
        return self.measured.mask

    @cached_property
    def group(self) -> NDArray[np.integer]:
        """Position of each cell's batch in ``new_batches``, -1 for a known one; ``(n_cells,)``."""
        if not self.new_batches:
            return np.full(len(self.obs), -1)
        return pd.Index(self.new_batches).get_indexer(self.obs[self.batch_key].astype(str))

    @cached_property
    def sample(self) -> NDArray[np.integer]:
        """Positions of the cells, or of some if they are several parts.

        These are then of new batches, of each about the same number, if there are any.
        """
        every = np.arange(len(self.obs))
        if len(every) <= self._part_size:
            return every
        if not self.new_batches:
            return every[: self._part_size]
        mixed = np.random.default_rng(SEED).permutation(every)
        group = pd.Series(self.group[mixed])
        rank = group.groupby(group).cumcount().to_numpy()
        each = max(1, N_SAMPLED * self._part_size // len(self.new_batches))
        return np.sort(mixed[(group.to_numpy() >= 0) & (rank < each)])

    @property
    def parts(self) -> Iterator[NDArray[np.integer]]:
        """Positions of all cells, some at a time."""
        every = np.arange(len(self.obs))
        for first in range(0, len(every), self._part_size):
            yield every[first : first + self._part_size]

    def of(self, cells: NDArray[np.integer]) -> AnnData:
        """Return some of the cells, given by their positions in ascending order."""
        x = self.counts.of(cells)
        if self.kept is not None:
            x = thinned(x, self.kept[cells])
        adata = AnnData(x, obs=self.obs.iloc[cells], var=pd.DataFrame(index=self.names))
        if self.layer is not None:
            adata.layers[self.layer] = adata.X
        return adata

    def known_as(self, known: Sequence[Any]) -> Query:
        """Return the query with a known batch in place of each of ``new_batches``."""
        if not self.new_batches:
            return self
        obs = self.obs.copy()
        batch = obs[self.batch_key].to_numpy().copy()
        for i, name in enumerate(known):
            batch[self.group == i] = name
        obs[self.batch_key] = batch
        return replace(self, obs=obs, new_batches=[])

    def thinned_to(self, depth: float) -> Query:
        """Return the query with new batches that are much deeper thinned.

        Their counts are mostly reads: deeper than all that the encoder has seen, and far less
        certain than as many molecules, for which the decoder would take them.

        Parameters
        ----------
        depth
            Median count of the measured genes in a cell of the reference.
        """
        kept = np.ones(len(self.obs))
        for i in range(len(self.new_batches)):
            cells = self.group == i
            share = depth / np.median(self.totals[cells])
            if share < 1 / DEEPER:
                kept[cells] = np.clip(FEWEST / self.totals[cells], share, 1)
        return replace(self, kept=kept) if (kept < 1).any() else self

    @cached_property
    def totals(self) -> NDArray[np.floating]:
        """Total count of the model's genes, shape ``(n_cells,)``."""
        return self.counts.totals

    @property
    def _part_size(self) -> int:
        return max(1, PART // len(self.genes) // MULTIPLE) * MULTIPLE


def thinned(x: sparse.csr_matrix, kept: NDArray[np.floating]) -> sparse.csr_matrix:
    """Keep each count with its cell's probability ``kept``, shape ``(n_cells,)``."""
    each = np.repeat(kept, np.diff(x.indptr))
    drawn = np.random.default_rng(SEED).binomial(x.data.astype(np.int64), each)
    x = sparse.csr_matrix((drawn.astype(x.dtype), x.indices, x.indptr), shape=x.shape)
    x.eliminate_zeros()
    return x


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
        Model of the reference, :class:`lucidvi.model.SCVI`.
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
    arguments = model.registry["setup_args"]
    own_layer = arguments.get("layer")
    layer = own_layer if layer is None and own_layer in query.layers else layer
    is_count_data = arguments.get("is_count_data", True) is not False
    names = pd.Index(model.get_var_names()).astype(str)
    var = pd.DataFrame(index=names) if var is None else var
    use_raw = is_raw(query, layer)
    query, layer = (of_raw(query), None) if use_raw else (query, layer)
    reader = QueryReader(
        layer=layer,
        arguments={"batch_key": batch_key, "gene_key": gene_key},
        own_layer=own_layer if own_layer in query.layers else None,
    )
    with errors_of_query():
        if 0 not in query.shape:  # what is quick comes first: of counts every value is looked at
            obs, new_batches = _columns(query, model, batch_key)
            measured = measured_genes(query.var, var, gene_key)
    with errors_of_query("query.raw" if use_raw else "query"):
        check_counts(query, layer, is_count_data, reader=reader)
    found = Query(
        obs=obs,
        counts=ModelCounts(query.X if layer is None else query.layers[layer], measured.selection),
        measured=measured,
        new_batches=new_batches,
        names=names,
        batch_key=arguments.get("batch_key"),
        layer=own_layer,
    )
    if is_count_data:
        _check_not_empty(query, found.totals)
    return found


@contextmanager
def nothing_is_trained() -> Iterator[None]:
    """Leave out what is said to whoever trains on cells."""
    with warnings.catch_warnings():
        for message in NOT_HERE:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def errors_of_query(name: str = "query") -> Iterator[None]:
    """Say what is wrong with an AnnData as a query's, by the name that it has."""
    try:
        yield
    except (DataError, MissingKeyError) as error:
        texts = (error.problem, error.remedy, *error.code)
        problem, remedy, *code = (re.sub(r"\badata\b", name, text) for text in texts)
        if name != "query":
            raise type(error)(problem, remedy=NOT_IN_RAW) from error
        raise type(error)(problem, remedy=remedy, code=code, counts_in=error.counts_in) from error


def check_is_adata(query: Any) -> None:
    """Raise DataError for a query that is no AnnData."""
    if not isinstance(query, AnnData):
        raise DataError(
            f"`query` is a {type(query).__module__}.{type(query).__name__}, not an AnnData.",
            remedy="query = anndata.read_h5ad(path)",
        )


def _columns(query: AnnData, model: Any, batch_key: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that the model was set up with, and the batches that are new to it."""
    arguments = dict(model.registry["setup_args"])
    own_key = arguments.get("batch_key")
    if own_key is None and batch_key is not None:
        raise DataError(
            f"batch_key={batch_key!r}, but the reference's model was set up without batches.",
            remedy="batch_key=None, or a reference whose model was set up with a `batch_key`.",
        )
    if batch_key is None and own_key is not None and own_key not in query.obs:
        raise MissingKeyError(
            f"query.obs has no column {own_key!r}, where the reference's model has the batches. "
            f"There are: {first_few(query.obs.columns) or 'none'}.",
            remedy="name the column, batch_key=...; for cells of one batch make it, "
            f'query.obs["{own_key}"] = "mine".',
        )
    batch_key = own_key if batch_key is None else batch_key
    labels_key = arguments.get("labels_key") if model.module.dispersion == "gene-label" else None
    setup = {**arguments, "batch_key": None, "labels_key": labels_key}
    check_columns_of_query(query.obs, {**model.registry, "setup_args": setup})
    # Of the columns alone: genes that the model does not have need not be unique.
    check_obs(
        AnnData(obs=query.obs),
        {**arguments, "batch_key": batch_key, "labels_key": labels_key, "layer": None},
    )
    obs = pd.DataFrame(index=query.obs_names.astype(str))
    for key in (arguments.get("size_factor_key"), labels_key):
        if key is not None:
            obs[key] = query.obs[key].to_numpy()
    for _, key in named_columns(arguments, COLUMN_LISTS):
        obs[key] = query.obs[key].to_numpy()
    for key, known in _covariates(model).items():
        obs[key] = _known(obs[key], known, Column(key, "categorical_covariate_keys"))
    if labels_key is not None:
        labels = categories(model, REGISTRY_KEYS.LABELS_KEY)
        obs[labels_key] = _known(obs[labels_key], labels, Column(labels_key, "labels_key"))
    elif arguments.get("labels_key") is not None:  # which the model has to see, but does not use
        obs[arguments["labels_key"]] = categories(model, REGISTRY_KEYS.LABELS_KEY)[0]
    if own_key is None:
        return obs, []
    known = list(categories(model, REGISTRY_KEYS.BATCH_KEY))
    column = Column(str(batch_key), "batch_key")
    codes, every = matched_codes(query.obs[batch_key], known, column, extend=True)
    new = [category_text(name) for name in every[len(known) :]]
    obs[own_key] = _taken([*known, *new], codes)
    return obs, new


def categories(model: Any, key: str) -> Any:
    return model.registry["field_registries"][key]["state_registry"]["categorical_mapping"]


def _covariates(model: Any) -> dict[str, Any]:
    field = model.registry["field_registries"].get(REGISTRY_KEYS.CAT_COVS_KEY, {})
    return field.get("state_registry", {}).get("mappings", {})


def _known(values: pd.Series, categories: Any, column: Column) -> NDArray[np.object_]:
    """Return the model's categories that values equal; raise DataError for one that it lacks."""
    codes, _ = matched_codes(values, categories, column)
    return _taken(list(categories), codes)


def _taken(values: list[Any], codes: NDArray[np.integer]) -> NDArray[np.object_]:
    every = np.empty(len(values), dtype=object)
    every[:] = values
    return every[codes]


def _check_not_empty(query: AnnData, totals: NDArray[np.floating]) -> None:
    empty = np.flatnonzero(totals == 0)
    if empty.size:
        raise DataError(
            f"{empty.size:,} of {query.n_obs:,} cells have no count of the model's genes: "
            f"{first_few(query.obs_names[empty])}. Nothing can be inferred about them.",
            remedy="leave them out, or map counts of more of the model's genes.",
        )
