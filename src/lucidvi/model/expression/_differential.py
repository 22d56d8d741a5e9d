"""Differential expression: groups of cells that exist, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.model.base import BaseModelClass, DifferentialComputation, RNASeqMixin

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._random import isolated
from lucidvi.checks import check_column, did_you_mean
from lucidvi.data import plain_category
from lucidvi.errors import DataError, ModelTypeError, UnknownModeError, first_few
from lucidvi.model._arguments import keywords
from lucidvi.model.expression._comparisons import Comparisons
from lucidvi.model.queries._query import query
from lucidvi.model.queries._requests import (
    as_code,
    cells_of,
    equal,
    spelled_like,
)
from lucidvi.model.queries._signature import like

MODES = ("vanilla", "change")
#: Functions of a user, which scvi-tools calls with matrices of draws.
FUNCTIONS = ("change_fn", "m1_domain_fn")
#: Columns that scvi-tools writes into ``obs``: groups for as long as it runs, and a cache of
#: totals, which may be those of other counts.
GROUPS, CACHE = "_scvi_temp_de", "_scvi_raw_norm_scaling"


def to_bayes_factors(model: Any, arguments: Mapping[str, Any]) -> set[str]:
    """Hand arguments on to the comparison of two groups, and to what selects their cells."""
    return keywords(DifferentialComputation.get_bayes_factors) | {"subset_idx"}


class DifferentialMixin(BaseModelClass):
    """What differs between groups of cells."""

    @query(passes_to=to_bayes_factors)
    @like(RNASeqMixin.differential_expression, seed=None)
    def differential_expression(self, seed: int | None, **arguments: Any) -> pd.DataFrame:
        """Compare the expression of groups of cells.

        Differs from scvi-tools: groups without cells, overlapping ones and names that do not
        exist are errors; ``idx1`` and ``idx2`` may also be names of cells, and find those that a
        query means where names are repeated; cells without a value in ``groupby`` belong to no
        group but the rest; with ``subset_idx`` the rest is that of the subset; categories without
        cells are passed over. A ``seed`` repeats a result.

        Raises
        ------
        lucidvi.errors.DataError
            If a group has no cells.
        lucidvi.errors.MissingKeyError
            If there is no column ``groupby``.
        """
        with nullcontext() if seed is None else isolated(seed):
            return self._differential_expression(arguments)

    def _differential_expression(
        self, arguments: dict[str, Any], modality: str | None = None
    ) -> pd.DataFrame:
        """Compare groups by a modality; by default the main one."""
        if arguments.get("adata") is None and getattr(self, "adata", None) is None:  # of a loader
            return super().differential_expression(**arguments)
        _check_mode(arguments.get("mode", MODES[0]))
        adata = self._validate_anndata(arguments.get("adata"))
        arguments["adata"] = adata
        _check_statistics(arguments, adata)
        if arguments.get("subset_idx") is not None:
            arguments["subset_idx"] = cells_of(
                arguments["subset_idx"], adata, "subset_idx", may_be_query=True
            )
        if arguments.get("idx1") is None:
            _resolve_groups(arguments, adata)
        else:
            _resolve_cells(arguments, adata)
        comparisons = Comparisons(self, adata, arguments, modality)
        by_scvi_tools = [name for name in FUNCTIONS if arguments.get(name) is not None]
        if arguments.get("weights") == "importance":
            by_scvi_tools.append("weights")
        if by_scvi_tools:
            # What a user's functions and those weights are given are all draws of all genes.
            if not isinstance(self, RNASeqMixin):
                raise ModelTypeError(
                    f"`{by_scvi_tools[0]}` is one of scvi-tools' comparison of genes, and the "
                    f"model, a {type(self).__name__}, observes other modalities too.",
                    remedy=f"leave `{by_scvi_tools[0]}` out.",
                )
            with _columns_as_before(adata):
                return comparisons.table_by(super().differential_expression)
        return comparisons.table()


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise UnknownModeError(
            f"Mode {mode} not recognized: `mode` is {mode!r}.",
            remedy=did_you_mean(mode, MODES, f"Use one of {', '.join(map(repr, MODES))}."),
        )


def _check_statistics(arguments: dict[str, Any], adata: AnnData) -> None:
    """Ask for no statistics of counts that were replaced by latent states."""
    if adata_minify_type(adata) != ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
        return
    if arguments.get("mode") == "change" and arguments.get("pseudocounts") is None:
        raise DataError(
            "`pseudocounts` are estimated from counts, and the AnnData is minified: they were "
            "replaced by latent states.",
            remedy="pseudocounts=1e-6, or the AnnData with the counts, "
            "model.differential_expression(adata, ...).",
        )
    if adata.X is None:
        arguments["all_stats"] = False


def _resolve_cells(arguments: dict[str, Any], adata: AnnData) -> None:
    """Put the positions of two groups of cells into the arguments."""
    first = cells_of(arguments["idx1"], adata, "idx1", may_be_query=True)
    arguments["idx1"] = first
    if arguments.get("idx2") is None:
        if len(np.unique(first)) == adata.n_obs:
            raise DataError(
                f"`idx1` chooses all {adata.n_obs:,} cells, so that none is left to compare them "
                "with.",
                remedy="give fewer cells, or the others as `idx2`.",
            )
        return
    second = cells_of(arguments["idx2"], adata, "idx2", may_be_query=True)
    arguments["idx2"] = second
    both = np.intersect1d(first, second)
    if both.size:
        raise DataError(
            f"`idx1` and `idx2` have {both.size:,} cells in common: "
            f"{first_few(adata.obs_names[both])}. A cell is compared from one side.",
            remedy="idx2 = np.setdiff1d(idx2, idx1), of positions, or other groups.",
        )


def _resolve_groups(arguments: dict[str, Any], adata: AnnData) -> None:
    """Put the groups of a column that have cells into the arguments."""
    if arguments.get("idx2") is not None:
        raise DataError(
            "`idx2` says which cells to compare with, and `idx1` does not say which ones.",
            remedy="give `idx1` too, or `groupby` with `group1` and `group2`.",
        )
    key: Any = arguments.get("groupby")
    check_column(adata.obs, "groupby", key)
    column = adata.obs[key]
    subset = arguments.get("subset_idx")
    column = column if subset is None else column.iloc[subset]
    values = column.dropna().unique().tolist()
    group1, group2 = arguments.get("group1"), arguments.get("group2")
    if group1 is None:
        if len(values) < 2:
            raise DataError(
                f'adata.obs["{key}"] has {first_few(values) or "no value"} in all cells, so that '
                "there is nothing to compare.",
                remedy="name a column of two groups or more, `groupby=...`.",
            )
        order = column.astype("category").cat.categories
        group1 = [value for value in order if value in set(values)]
    names = [group1] if isinstance(group1, str) or not np.iterable(group1) else list(group1)
    groups = [one_of(name, values, "group1", key) for name in names]
    if not groups:
        raise DataError("`group1` is empty.", remedy="group1=None, for each group in turn.")
    arguments["group1"] = groups
    if group2 is not None:
        arguments["group2"] = _second_group(group2, groups, values, key)
    if subset is not None:  # scvi-tools compares names there
        arguments["group1"] = [str(value) for value in arguments["group1"]]
        arguments["group2"] = None if group2 is None else str(arguments["group2"])
    elif group2 is None and len(groups) == 1 and len(values) == 1 and not column.isna().any():
        raise DataError(
            f'All cells have {plain_category(groups[0])!r} in adata.obs["{key}"], so that none is '
            "left to compare them with.",
            remedy="name a column of two groups or more, `groupby=...`.",
        )


def _second_group(group2: Any, first_groups: list[Any], values: list[Any], key: str) -> Any:
    several = not isinstance(group2, str) and np.iterable(group2)
    names = list(group2) if several else [group2]
    if len(names) != 1:
        raise DataError(
            f"`group2` names {len(names)} groups, {first_few(names)}, and has to be one.",
            remedy=f'idx1=adata.obs["{key}"].isin({[plain_category(v) for v in first_groups]!r}), '
            f'idx2=adata.obs["{key}"].isin({[plain_category(v) for v in names]!r})',
        )
    value = one_of(names[0], values, "group2", key)
    if any(equal(value, other) for other in first_groups):
        raise DataError(
            f"`group1` and `group2` are both {plain_category(value)!r}.",
            remedy="group2=None, for all other cells, or another group.",
        )
    return value


def one_of(name: Any, values: list[Any], argument: str, key: str) -> Any:
    """Return the value of a column that is equal to a name, or raise :class:`DataError`."""
    matches = [value for value in values if equal(value, name)]
    if matches:
        return matches[0]
    raise DataError(
        f'`{argument}` is {plain_category(name)!r}, which no cell has in adata.obs["{key}"]. '
        f"There are {as_code(values)}.",
        remedy=spelled_like(name, values, argument)
        or f"{argument}={plain_category(values[0])!r}, or another.",
    )


@contextmanager
def _columns_as_before(adata: AnnData) -> Iterator[None]:
    """Let scvi-tools write into ``obs``, and leave it as it was, but for its cache."""
    _forget(adata, CACHE)
    try:
        yield
    finally:
        _forget(adata, GROUPS)


def _forget(adata: AnnData, column: str) -> None:
    """Delete a column of ``obs``, if it is there."""
    if column in adata.obs:
        del adata.obs[column]
