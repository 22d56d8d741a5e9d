"""A query, checked, with the model's genes and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.atlas.mapping._counts import ModelCounts
from lucidvi.atlas.mapping._genes import MeasuredGenes
from lucidvi.atlas.mapping._modalities import MeasuredModality, feature_masks
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.model import Cells

#: Counts of the model's genes, zeros included, that are held at a time, and what the number of
#: cells in a part is a multiple of, so that minibatches are those of the query in one part.
PART, MULTIPLE = 2**23, 1_024
#: Parts' worth of cells that new batches are learned from, and cells of each, at most.
N_SAMPLED, N_LEARNED = 4, 1_000
SEED = 0
#: How many times as deep as the reference a batch has to be to be thinned, by its median cell; and
#: counts of a cell that are left at least.
DEPTH_FACTOR, FEWEST = 3.0, 100


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
    setup
        How the model was set up.
    modalities
        What it has of the model's modalities beside the genes, by name.
    kept
        Share of each cell's counts that is kept, shape ``(n_cells,)``; None for all.
    """

    obs: pd.DataFrame
    counts: ModelCounts
    measured: MeasuredGenes
    new_batches: list[str]
    setup: Setup
    modalities: Mapping[str, MeasuredModality] = field(default_factory=dict)
    kept: NDArray[np.floating] | None = None

    @property
    def chosen(self) -> NDArray[np.bool_] | None:
        """:attr:`genes`; None where all were measured, or, in cells without them, none."""
        return None if self.genes.all() or not self.genes.any() else self.genes

    @property
    def genes(self) -> NDArray[np.bool_]:
        """Which of the model's genes were measured, shape ``(n_genes,)``."""
        return self.measured.mask

    @cached_property
    def group(self) -> NDArray[np.integer]:
        """Position of each cell's batch in ``new_batches``, -1 for a known one; ``(n_cells,)``."""
        if not self.new_batches:
            return np.full(len(self.obs), -1)
        return pd.Index(self.new_batches).get_indexer(self.obs[self.setup.batch_key].astype(str))

    @cached_property
    def sample(self) -> NDArray[np.integer]:
        """Positions of the cells, or of some if they are several parts.

        These are then of the new batches, if there are any, about equally many of each, and no
        more than a batch is learned from.
        """
        indices = np.arange(len(self.obs))
        if len(indices) <= self._part_size:
            return indices
        if not self.new_batches:
            return indices[: self._part_size]
        mixed = np.random.default_rng(SEED).permutation(indices)
        group = pd.Series(self.group[mixed])
        rank = group.groupby(group).cumcount().to_numpy()
        most = max(1, N_SAMPLED * self._part_size // len(self.new_batches))
        most = min(most, N_LEARNED)
        return np.sort(mixed[(group.to_numpy() >= 0) & (rank < most)])

    @property
    def parts(self) -> Iterator[NDArray[np.integer]]:
        """Positions of all cells, some at a time."""
        indices = np.arange(len(self.obs))
        for first in range(0, len(indices), self._part_size):
            yield indices[first : first + self._part_size]

    def read(self, indices: NDArray[np.integer]) -> AnnData:
        """Return some of the cells, by their positions in ascending order."""
        adata = self._with_genes(indices)
        for modality in self.modalities.values():
            modality.put(adata, indices)
        return adata

    def _with_genes(self, indices: NDArray[np.integer]) -> AnnData:
        x = self.counts.of(indices)
        if self.kept is not None:
            x = thinned(x, self.kept[indices])
        adata = AnnData(x, obs=self.obs.iloc[indices], var=pd.DataFrame(index=self.setup.genes))
        if self.setup.layer is not None:
            adata.layers[self.setup.layer] = adata.X
        return adata

    def having(self, modality: str) -> NDArray[np.bool_]:
        """Return which of the cells have a modality, if any of its features is there."""
        return np.ones(len(self.obs), dtype=bool)

    def cells(self, model: Any, adata: AnnData, rows: NDArray[np.integer]) -> Cells:
        """Return some of what :meth:`read` returned, as a model reads it.

        Parameters
        ----------
        model
            Model that the cells are registered with.
        adata
            The cells.
        rows
            Positions among them.
        """
        return Cells(model, adata, rows).with_features(feature_masks(self.modalities))

    def with_stand_ins(self, stand_ins: Sequence[Any]) -> Query:
        """Return the query with a batch that the model knows in place of each new one.

        Parameters
        ----------
        stand_ins
            Names of batches that the model knows, one for each of ``new_batches``.
        """
        if not self.new_batches:
            return self
        obs = self.obs.copy()
        batch = obs[self.setup.batch_key].to_numpy().copy()
        for i, name in enumerate(stand_ins):
            batch[self.group == i] = name
        obs[self.setup.batch_key] = batch
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
            of_batch = self.group == i
            totals = self.totals[of_batch & (self.totals > 0)]
            if not len(totals):  # other modalities alone
                continue
            share = depth / np.median(totals)
            if share < 1 / DEPTH_FACTOR:
                kept[of_batch] = np.clip(FEWEST / self.totals[of_batch].clip(min=1), share, 1)
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
    probability = np.repeat(kept, np.diff(x.indptr))
    drawn = np.random.default_rng(SEED).binomial(x.data.astype(np.int64), probability)
    x = sparse.csr_matrix((drawn.astype(x.dtype), x.indices, x.indptr), shape=x.shape)
    x.eliminate_zeros()
    return x
