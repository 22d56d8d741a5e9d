"""What a reference knows of its cells: their posteriors, labels and calibration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._voters import Voters
from lucidvi.results import Calibration, Posteriors

#: Where latent means and standard deviations are, in ``obsm`` of references and of queries.
LOC, SCALE = "X_lucidvi", "X_lucidvi_scale"
#: Where the median count of a cell, the calibration and the weights of modalities are, in ``uns``
#: of the reference cells.
DEPTH, CALIBRATION, WEIGHTS = "lucidvi_depth", "lucidvi_calibration", "lucidvi_modality_weights"


@dataclass(frozen=True, eq=False, repr=False)
class ReferenceData:
    """Cells of a reference, without counts.

    Parameters
    ----------
    cells
        Posteriors in ``obsm["X_lucidvi"]`` (means) and ``obsm["X_lucidvi_scale"]`` (standard
        deviations), float32; labels and batch in ``obs``; in ``var`` the share of each gene in
        the decoded expression and in what counts say about the cell; and in ``uns`` the
        calibration.
    labels_key
        Column of ``cells.obs`` with the labels, the finest.
    coarser_keys
        Columns of ``cells.obs`` with coarser labels, from coarse to fine.
    batch_key
        Column of ``cells.obs`` with the batches; None if the model has none.
    """

    cells: AnnData
    labels_key: str
    coarser_keys: tuple[str, ...] = ()
    batch_key: str | None = None

    @property
    def posteriors(self) -> Posteriors:
        """Posteriors of the cells."""
        return Posteriors(
            loc=self.cells.obsm[LOC], scale=self.cells.obsm[SCALE], names=self.cells.obs_names
        )

    @property
    def depth(self) -> float:
        """Median total count of a cell, of the model's genes; infinite if it is not known."""
        return float(self.cells.uns.get(DEPTH, np.inf))

    @property
    def modality_weights(self) -> dict[str, float]:
        """Share of each modality in what is observed of a cell; empty for an old folder."""
        return {key: float(share) for key, share in self.cells.uns.get(WEIGHTS, {}).items()}

    @property
    def labels(self) -> pd.Series:
        """Labels of the cells, on the finest level, by the names of the cells."""
        return self.cells.obs[self.labels_key]

    @property
    def levels(self) -> dict[str, pd.Series]:
        """Labels of the cells on each level, by column, from coarse to fine."""
        return {key: self.cells.obs[key] for key in (*self.coarser_keys, self.labels_key)}

    @property
    def batches(self) -> pd.Series | None:
        """Batches of the cells, by the names of the cells; None if the model has none."""
        return None if self.batch_key is None else self.cells.obs[self.batch_key]

    @cached_property
    def calibration(self) -> Calibration | None:
        """How far labels can be believed; None for a reference of one cell or an old folder."""
        arrays = self.cells.uns.get(CALIBRATION)
        return None if arrays is None else Calibration.from_arrays(arrays)

    @cached_property
    def voters(self) -> Voters:
        """The cells as they vote on others."""
        labels = self.labels.array
        return Voters(self.posteriors, labels.codes, len(labels.categories), self.neighbours)

    @cached_property
    def neighbours(self) -> Neighbours:
        """Index of the cells, made when it is first asked for."""
        return Neighbours(self.posteriors.loc)

    def check(self, n_latent: int, batches: Iterable[str], of_genes: Iterable[str]) -> None:
        """Raise ValueError for cells that are not those of a reference.

        Parameters
        ----------
        n_latent
            Latent dimensions of the model.
        batches
            Names of the model's batches.
        of_genes
            Columns of numbers of genes.
        """
        loc, scale = (np.asarray(self.cells.obsm[key]) for key in (LOC, SCALE))
        shape = (self.cells.n_obs, n_latent)
        if not shape[0] or loc.shape != shape or scale.shape != shape:
            raise ValueError(f"posteriors of {shape[0]:,} cells are of another shape than {shape}")
        if {loc.dtype.kind, scale.dtype.kind} != {"f"}:
            raise ValueError("posteriors are no real numbers")
        if not (np.isfinite(loc).all() and np.isfinite(scale).all()):
            raise ValueError("posteriors are NaN or infinite")
        if not (scale > 0).all():
            raise ValueError("standard deviations of posteriors are not positive")
        columns = [*self.levels.values(), *([] if self.batches is None else [self.batches])]
        for column in columns:
            if (column.cat.codes < 0).any():
                raise ValueError(f"values of the column {column.name!r} are missing")
        if self.batches is not None and not set(self.batches.cat.categories) <= set(batches):
            raise ValueError("cells have batches that the model does not have")
        if not self.depth > 0:
            raise ValueError(f"the median total count is {self.depth}")
        if not all(0 <= share <= 1 for share in self.modality_weights.values()):
            raise ValueError("shares of modalities are not between 0 and 1")
        if not np.isfinite(self.cells.var[list(of_genes)].to_numpy(np.float64)).all():
            raise ValueError("weights of genes are NaN or infinite")
        _ = self.calibration  # which checks its arrays

    @property
    def n_bytes_per_cell(self) -> float:
        """Bytes of a cell: posterior, labels and batch (as numbers) and name.

        What Python adds to a name, and pandas to a column, depends on their versions and is left
        out.
        """
        arrays: list[NDArray] = [self.posteriors.loc, self.posteriors.scale]
        arrays += [self.cells.obs[key].cat.codes.to_numpy() for key in self.cells.obs]
        size = sum(array.nbytes for array in arrays)
        size += sum(len(name.encode()) for name in self.cells.obs_names)
        return size / self.cells.n_obs
