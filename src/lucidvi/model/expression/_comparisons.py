"""Groups of cells compared one after the other, and put together as one table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.model.base import DifferentialComputation

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._progress import track
from lucidvi._random import isolated
from lucidvi.model.expression._comparison import Options, compare
from lucidvi.model.expression._means import Scale
from lucidvi.model.expression._one_against_rest import one_against_rest
from lucidvi.model.expression._pairs import Pairs, Side
from lucidvi.model.expression._summaries import Summary, summaries
from lucidvi.module import DrawnStates

#: Cells of a minibatch whose counts are summed up.
CELLS_AT_ONCE = 2_048
#: Columns of what was counted, by the attributes of a summary.
COUNTED = {
    "mean": "raw_mean",
    "share": "non_zeros_proportion",
    "normalized": "raw_normalized_mean",
}


#: Arguments that say which cells are compared.
OF_GROUPS = ("groupby", "group1", "group2", "idx1", "idx2", "subset_idx")


class Groups(NamedTuple):
    """Two groups that are compared: masks of the cells, and their names, if they have any."""

    first: NDArray[np.bool_]
    second: NDArray[np.bool_]
    names: tuple[Any, Any] | None


class Comparisons:
    """What ``differential_expression`` was asked, with arguments that were checked.

    Parameters
    ----------
    model
        The model that is asked.
    adata
        The cells, registered with it.
    arguments
        Arguments of ``differential_expression`` by name, of which cells are positions and groups
        values of their column.
    modality
        Name of the modality that is compared; by default the main one.
    """

    def __init__(
        self, model: Any, adata: AnnData, arguments: dict[str, Any], modality: str | None = None
    ) -> None:
        self.model = model
        self.adata = adata
        self.arguments = arguments
        modalities = model.module.modalities
        self.modality = modalities[next(iter(modalities)) if modality is None else modality]
        self.scale = Scale(modality=modality)
        names = set(signature(Options).parameters) & set(arguments)
        corrected = bool(arguments.get("batch_correction", False))
        self.options = Options(
            **{name: arguments[name] for name in names}, use_observed_batches=not corrected
        )

    @torch.inference_mode()
    def table(self) -> pd.DataFrame:
        """Compare all groups; rows as scvi-tools orders them, a comparison after the other."""
        if adata_minify_type(self.adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
            warnings.warn(
                "Count statistics make no sense for minified model. Consider disabling all_stats.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )
        groups = list(self._groups())
        sides = [[self._kept(mask) for mask in (pair.first, pair.second)] for pair in groups]
        wants_statistics = self.arguments.get("all_stats", True)
        masks = [mask for pair in groups for mask in (pair.first, pair.second)]
        if wants_statistics or self._needs_silent_genes:
            used = [self._mask(cells) for pair in sides for cells in pair]
            counted = self._summaries([*masks, *used])
        silent: list[Any] = [(None, None)] * len(groups)
        if self._needs_silent_genes:
            low = [s.mean < self.options.threshold_counts for s in counted[len(masks) :]]
            silent = list(zip(low[::2], low[1::2], strict=True))
        if self._all_against_rest:
            every = groups[0].first | groups[0].second
            compared = self._against_rest([side[0] for side in sides], every)
        else:
            compared = (
                compare(self._pairs(*side), self.options, genes)
                for side, genes in zip(sides, silent, strict=True)
            )
        tables = []
        shown = self._with_bar(compared, len(groups))
        for number, (columns, pair) in enumerate(zip(shown, groups, strict=True)):
            if wants_statistics:
                columns |= _statistics(*counted[2 * number : 2 * number + 2])
            tables.append(_named(self._ordered(columns), pair))
        return pd.concat(tables, axis=0)

    def table_by(self, compare_two: Callable[..., pd.DataFrame]) -> pd.DataFrame:
        """Compare all groups by scvi-tools' method, which takes two groups of cells at a time.

        Parameters
        ----------
        compare_two
            ``differential_expression`` of scvi-tools.
        """
        groups = list(self._groups())
        shared = {name: v for name, v in self.arguments.items() if name not in OF_GROUPS}
        tables = []
        for pair in self._with_bar(groups, len(groups)):
            cells = {"idx1": np.flatnonzero(pair.first), "idx2": np.flatnonzero(pair.second)}
            tables.append(_named(compare_two(**(shared | cells | {"silent": True})), pair))
        return pd.concat(tables, axis=0)

    def _with_bar(self, steps: Iterable[Any], n: int) -> Iterable[Any]:
        if self.arguments.get("silent", False):
            return steps
        return track(steps, "Comparing groups", n, slow_steps=True)

    @property
    def _all_against_rest(self) -> bool:
        """Whether several groups are compared with all other cells, so that these share draws."""
        options, arguments = self.options, self.arguments
        return (
            options.mode == "vanilla"
            and not options.use_permutation
            and options.batchid1 == options.batchid2
            and arguments.get("idx1") is None
            and arguments.get("group2") is None
            and len(arguments["group1"]) > 1
            and not arguments.get("filter_outlier_cells", False)
        )

    def _against_rest(
        self, groups: list[NDArray[np.integer]], every: NDArray[np.bool_]
    ) -> Iterator[dict[str, Any]]:
        others = np.setdiff1d(np.flatnonzero(every), np.concatenate(groups))
        cells = [*groups, others] if len(others) else groups
        pools = [self._side(some, self.options.batchid1) for some in cells]
        yield from one_against_rest(pools, [len(some) for some in cells], len(groups))

    @property
    def _needs_silent_genes(self) -> bool:
        return self.options.mode == "change" and self.options.pseudocounts is None

    # -- the groups ----------------------------------------------------------------------------

    def _groups(self) -> Iterator[Groups]:
        first = self.arguments.get("idx1")
        if first is not None:
            mask, second = self._mask(first), self.arguments.get("idx2")
            yield Groups(mask, ~mask if second is None else self._mask(second), None)
            return
        column = self.adata.obs[self.arguments["groupby"]]
        group2, subset = self.arguments.get("group2"), self.arguments.get("subset_idx")
        every = np.ones(len(column), dtype=bool) if subset is None else self._mask(subset)
        if subset is not None:  # groups are names there
            column = column.astype(str)
        for group1 in self.arguments["group1"]:
            mask = _is(column, group1) & every
            other = every & ~mask if group2 is None else _is(column, group2) & every
            yield Groups(mask, other, (group1, "Rest" if group2 is None else group2))

    def _mask(self, positions: NDArray[np.integer]) -> NDArray[np.bool_]:
        mask = np.zeros(self.adata.n_obs, dtype=bool)
        mask[positions] = True
        return mask

    def _kept(self, mask: NDArray[np.bool_]) -> NDArray[np.integer]:
        """Return positions of the cells of a group, without outliers if these are left out."""
        if not self.arguments.get("filter_outlier_cells", False):
            return np.flatnonzero(mask)
        manager = self.model.get_anndata_manager(self.adata, required=True)
        latent = self.model.get_latent_representation
        return DifferentialComputation(None, latent, manager).filter_outlier_cells(mask)

    # -- draws, and what was counted -----------------------------------------------------------

    @cached_property
    def _batches(self) -> list[Any]:
        registry = self.model.get_state_registry(REGISTRY_KEYS.BATCH_KEY)
        names = list(registry.categorical_mapping)
        return [names[code] for code in self.model._batches_with(self.modality.key)]

    def _pairs(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> Pairs:
        one = self._side(first, self.options.batchid1)
        return Pairs.of(
            one,
            self._side(second, self.options.batchid2),
            within_batches=not self.options.use_observed_batches,
            use_permutation=self.options.use_permutation,
            m_permutation=self.options.m_permutation,
        )

    def _side(self, cells: NDArray[np.integer], given: Any) -> Side:
        batches = self.options.batches(given, self._batches)
        codes = dict(zip(batches, self.model._codes_of_batches(batches), strict=True))
        return Side.drawn(self._drawn, cells, codes, self.options.n_samples_overall, self.scale)

    def _drawn(self, cells: NDArray[np.integer], n_draws: int) -> DrawnStates:
        """Draw states of cells, a cell after the other."""
        parts = []
        for tensors in self._minibatches(cells, self.arguments.get("batch_size")):
            states = self.model._drawn_of(tensors, n_draws, self.modality.key)
            by_cell = torch.arange(len(states)).reshape(n_draws, -1).T.flatten()
            parts.append(states.select(by_cell))
        return DrawnStates.concatenate(parts)

    def _minibatches(self, cells: NDArray[np.integer], batch_size: int | None) -> Any:
        return self.model._minibatches(self.adata, cells, batch_size, None, None)

    def _summaries(self, masks: list[NDArray[np.bool_]]) -> list[Summary]:
        """Summarize the counts of groups, each once, in one pass over their cells."""
        different, place = np.unique(np.stack(masks), axis=0, return_inverse=True)
        cells = np.flatnonzero(different.any(axis=0))
        with isolated():  # a loader draws a number, and draws do not depend on statistics
            minibatches = self._minibatches(cells, CELLS_AT_ONCE)
            summed = summaries(minibatches, [mask[cells] for mask in different], self.modality)
        return [summed[i] for i in place.reshape(-1)]

    # -- the table -----------------------------------------------------------------------------

    def _ordered(self, columns: dict[str, Any]) -> pd.DataFrame:
        genes = self.adata.var_names
        if self.scale.modality is not None:
            genes = self.model.get_feature_names(self.scale.modality)
        table = pd.DataFrame(columns, index=genes)
        by = "proba_de" if self.options.mode == "change" else "bayes_factor"
        table = table.sort_values(by=by, ascending=False)
        if self.options.mode == "change":
            target = self.arguments.get("fdr_target", 0.05)
            table[f"is_de_fdr_{target}"] = _is_found(table[by].to_numpy(), target)
        return table


def _named(table: pd.DataFrame, pair: Groups) -> pd.DataFrame:
    """Say which groups a table compares, if they have names."""
    if pair.names is not None:
        table["comparison"] = f"{pair.names[0]} vs {pair.names[1]}"
        table["group1"], table["group2"] = pair.names
    return table


def _is(column: pd.Series, value: Any) -> NDArray[np.bool_]:
    """Whether each value is equal to one; a missing one is not."""
    return (column == value).fillna(False).to_numpy(dtype=bool)


def _statistics(first: Summary, second: Summary) -> dict[str, Any]:
    return {
        f"{column}{side}": getattr(summary, name)
        for name, column in COUNTED.items()
        for side, summary in ((1, first), (2, second))
    }


def _is_found(probability: NDArray[np.floating], target: float) -> NDArray[np.bool_]:
    """Tag genes, most probable first, as long as the expected share of false ones allows."""
    expected = np.cumsum(1.0 - probability) / (1.0 + np.arange(len(probability)))
    return np.arange(len(probability)) < (expected <= target).sum()
