"""A reference: what mapping needs of a model and its cells, without the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._progress import Progress
from lucidvi._random import isolated
from lucidvi.atlas._folder import CALIBRATION, read_folder, write_folder
from lucidvi.atlas.calibration._calibration import Calibration
from lucidvi.atlas.labels._hierarchy import check_nested
from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._voters import States, Voters
from lucidvi.atlas.mapping._calibrate import calibrate
from lucidvi.atlas.mapping._gene_names import id_columns
from lucidvi.atlas.mapping._genes import INFORMATION, gene_weights
from lucidvi.atlas.mapping._map import LOC, SCALE, SEED, map_query
from lucidvi.atlas.mapping._query import categories
from lucidvi.data import category_texts, check_obs
from lucidvi.errors import DataError
from lucidvi.model import SCVI, capable

#: Attributes of a model that say which of its data it was trained on.
SPLITS = ("train_indices_", "validation_indices_", "test_indices_")
#: Where the median count of a cell is, in ``uns`` of the reference cells.
DEPTH = "lucidvi_depth"


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """A trained model and its cells' latent posteriors and labels, to map other cells onto.

    Made by :meth:`from_model` or :meth:`load`. Mapping changes nothing in it.

    Parameters
    ----------
    model
        The model, without data.
    cells
        The reference cells, without counts: their posteriors in ``obsm["X_lucidvi"]`` (means)
        and ``obsm["X_lucidvi_scale"]`` (standard deviations), float32, as in the result of
        :meth:`map`; labels and batch in ``obs``; in ``var`` the share of each gene in the
        decoded expression and in what counts say about the cell; and in ``uns`` the calibration.
    labels_key
        Column of ``cells.obs`` with the labels, the finest.
    coarser_keys
        Columns of ``cells.obs`` with coarser labels, from coarse to fine.

    Examples
    --------
    >>> from lucidvi.atlas import Reference
    >>> reference = Reference.from_model(model, labels_key="cell_type")  # doctest: +SKIP
    >>> reference.save("my_reference")  # doctest: +SKIP
    >>> out = Reference.load("my_reference").map(query)  # doctest: +SKIP
    >>> out.obs[["lucidvi_call", "lucidvi_confidence", "lucidvi_novelty"]]  # doctest: +SKIP
    """

    model: SCVI
    cells: AnnData
    labels_key: str
    coarser_keys: tuple[str, ...] = ()

    @classmethod
    def from_model(
        cls,
        model: SCVI | scvi.model.SCVI | scvi.model.SCANVI,
        labels_key: str | Sequence[str] = "cell_type",
    ) -> Self:
        """Make a reference of a trained model and the cells that it is bound to.

        Some of the cells, by preference those that the model was not trained on, are labelled by
        the others, so that confidences and p-values of queries are calibrated.

        Parameters
        ----------
        model
            Trained :class:`lucidvi.model.SCVI`, or a SCVI or SCANVI of scvi-tools (see
            :meth:`lucidvi.model.SCVI.from_scvi_model`), with its AnnData. It is copied.
        labels_key
            Column of ``model.adata.obs`` with a label for every cell; or several, from coarse to
            fine, such as ``["lineage", "cell_type"]``, where each fine label lies in one coarser.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If it is not such a model, or one of values that are not counts.
        lucidvi.errors.DataError
            If the model is not trained or has no AnnData, a label is missing, or a fine label lies
            in several coarser ones.
        lucidvi.errors.MissingKeyError
            If there is no such column.
        """
        known = capable(model, "counts")
        if known.adata is None:
            raise DataError(
                "`model` has no AnnData, so there are no cells to refer to.",
                remedy="model = SCVI.load(folder, adata=adata)",
            )
        keys = [labels_key] if isinstance(labels_key, str) else list(labels_key)
        for key in keys:
            check_obs(known.adata, {"labels_key": key})
        check_nested(known.adata.obs, keys)
        batch_key = known.registry["setup_args"].get("batch_key")
        obs = {key: pd.Categorical(category_texts(known.adata.obs[key])) for key in keys}
        if batch_key is not None:
            obs[batch_key] = _batches(known)
        making = Progress("Making the reference", total=3, slow_steps=True)
        with making, isolated(SEED):  # loaders and weights that are drawn
            mean, variance = known.get_latent_representation(return_dist=True)
            var = id_columns(known.adata.var).join(gene_weights(known))
            making.advance()
            without_data = _without_data(known)
            making.advance()
            cells = AnnData(
                obs=pd.DataFrame(obs, index=known.adata.obs_names.astype(str)),
                var=var,
                obsm={LOC: np.float32(mean), SCALE: np.sqrt(np.float32(variance))},
            )
            cells.uns[DEPTH] = _median_count(known)
            reference = cls(without_data, cells, keys[-1], tuple(keys[:-1]))
            information = var[INFORMATION].to_numpy()
            found = calibrate(known, reference.voters, reference.batches, information)
            making.advance()
        if found is not None:
            cells.uns[CALIBRATION] = found.to_arrays()
        return reference

    def save(self, dir_path: str | Path, overwrite: bool = False) -> None:
        """Save the reference as a folder of files that hold data only.

        ``model.pt`` is the model (which :meth:`lucidvi.model.SCVI.load` reads with
        ``adata=False``), ``cells.h5ad`` the cells, ``reference.json`` and ``README.md`` say
        what it is. They appear whole or not at all.

        Parameters
        ----------
        dir_path
            Folder to write.
        overwrite
            Replace a reference in a folder that exists, or a file where the folder shall be.

        Raises
        ------
        lucidvi.errors.FileError
            If the folder exists or cannot be written.
        """
        write_folder(self, Path(dir_path), overwrite)

    @classmethod
    def load(cls, dir_path: str | Path) -> Self:
        """Load a reference, without running anything that its files say.

        Parameters
        ----------
        dir_path
            Folder that :meth:`save` wrote.

        Raises
        ------
        lucidvi.errors.FileError
            If there is no reference, or not one that can be read.
        lucidvi.errors.UntrustedFileError
            If the model's file holds more than data.
        """
        return cls(*read_folder(Path(dir_path)))

    def map(
        self,
        query: AnnData,
        batch_key: str | None = None,
        novelty_rate: float = 0.05,
        *,
        min_confidence: float = 0.8,
        layer: str | None = None,
        gene_key: str | None = None,
    ) -> AnnData:
        """Map cells onto the reference and give them its labels.

        Genes are matched by name, symbol or Ensembl id. Each cell's posterior is refined with the
        likelihood of the genes that were measured, so genes that are missing are not taken for
        zeros. A batch that the model does not know is decoded as the known one that fits best,
        with shifts of its genes that are learned on the query with everything else frozen. A
        label is the one that most of a cell's 15 nearest reference cells have, over draws of its
        posterior. A cell is unknown if it is further from them, and (in a known batch) its
        residuals have more in common with those of the query's cells next to it, than is usual
        for the cells that the reference is calibrated by.

        Parameters
        ----------
        query
            Cells with counts, in memory or in a file, and the columns that the model was set up
            with. Nothing in it is changed.
        batch_key
            Column of ``query.obs`` with the batches; by default that of the reference.
        novelty_rate
            Share of cells of known types that may be called unknown.
        min_confidence
            With several levels of labels, the probability from which on a call is finer than the
            coarsest level.
        layer
            Layer with the counts, or ``"raw"`` for those of ``query.raw``, with its genes; by
            default that of the reference where the query has it, else ``query.X``.
        gene_key
            Column of ``query.var`` with the names of the genes, such as symbols beside Ensembl
            ids. By default the one that finds most of the model's genes, ``var_names`` among
            equals. Counts of genes that share a name in such a column are added up.

        Returns
        -------
        ``obs`` and ``var`` of the query, with latent means in ``obsm["X_lucidvi"]``, their
        standard deviations in ``obsm["X_lucidvi_scale"]``, and in ``uns["lucidvi"]`` which share
        of the model's genes, of its expression and of its information was measured. In ``obs``:

        ``lucidvi_label``, ``lucidvi_confidence``
            The most probable label, the finest if there are levels, and its probability if the
            cell is of a known type. Of coarser levels, ``lucidvi_label_KEY`` and
            ``lucidvi_confidence_KEY``.
        ``lucidvi_novelty``
            Conformal p-value: which share of known cells is as unlike the others. It depends
            on which cells are mapped together.
        ``lucidvi_call``
            ``"unknown"`` where the p-value is at most ``novelty_rate``, else the label; with
            levels, that of the finest one that reaches ``min_confidence``.

        Raises
        ------
        lucidvi.errors.DataError, lucidvi.errors.MissingKeyError, lucidvi.errors.GeneMismatchError
            Whatever is wrong with the query: no gene of the model, values that are not counts, no
            cells, cells without counts, missing columns, batches that cannot be learned; or with
            a rate.

        Warns
        -----
        UserWarning
            If the reference was calibrated by so few cells that none can be called unknown, or if
            its batches have so few labels in common that new batches cannot be judged. If it has
            no batches, and most cells are unknown.
        """
        return map_query(self, query, batch_key, layer, gene_key, novelty_rate, min_confidence)

    @property
    def loc(self) -> NDArray[np.float32]:
        """Latent means of the reference cells, shape ``(n_cells, n_latent)``."""
        return self.cells.obsm[LOC]

    @property
    def scale(self) -> NDArray[np.float32]:
        """Standard deviations of the reference cells' posteriors, of the same shape."""
        return self.cells.obsm[SCALE]

    @property
    def depth(self) -> float:
        """Median total count of the cells, of the model's genes; infinite if not known."""
        return float(self.cells.uns.get(DEPTH, np.inf))

    @property
    def labels(self) -> pd.Categorical:
        """Labels of the reference cells."""
        return self.cells.obs[self.labels_key].array

    @property
    def batches(self) -> pd.Categorical | None:
        """Batches of the reference cells, None if the model has none."""
        key = self.model.registry["setup_args"].get("batch_key")
        return None if key is None else self.cells.obs[key].array

    @property
    def levels(self) -> dict[str, pd.Categorical]:
        """Labels of the reference cells on each level, by column, from coarse to fine."""
        return {key: self.cells.obs[key].array for key in (*self.coarser_keys, self.labels_key)}

    @cached_property
    def calibration(self) -> Calibration | None:
        """How far labels can be believed; None for a reference of one cell or an old folder."""
        arrays = self.cells.uns.get(CALIBRATION)
        return None if arrays is None else Calibration.from_arrays(arrays)

    @cached_property
    def voters(self) -> Voters:
        """The reference cells as they vote on others."""
        n_labels = len(self.labels.categories)
        return Voters(States(self.loc, self.scale), self.labels.codes, n_labels, self.neighbours)

    @cached_property
    def neighbours(self) -> Neighbours:
        """Index of the reference cells, made when it is first asked for."""
        return Neighbours(self.loc)

    @property
    def n_bytes_per_cell(self) -> float:
        """Bytes of a reference cell: posterior, labels and batch (as numbers) and name.

        What Python adds to a name, and pandas to a column, depends on their versions and is left
        out.
        """
        size = self.loc.nbytes + self.scale.nbytes
        size += sum(self.cells.obs[key].cat.codes.to_numpy().nbytes for key in self.cells.obs)
        size += sum(len(name.encode()) for name in self.cells.obs_names)
        return size / self.cells.n_obs

    def __repr__(self) -> str:
        labels = len(self.labels.categories)
        return (
            f"Reference({self.cells.n_obs:,} cells, {self.cells.n_vars:,} genes, "
            f"{labels} labels in {self.labels_key!r})"
        )


def _median_count(model: Any) -> float:
    """Median total of a model's cells; infinite for values that are not counts."""
    if model.registry["setup_args"].get("is_count_data", True) is False:
        return np.inf
    if adata_minify_type(model.adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:  # without counts
        return float(np.median(model.adata.obs[model._OBSERVED_LIB_SIZE_KEY]))
    x = model.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
    return float(np.median(np.asarray(x.sum(axis=1)).ravel()))


def _batches(model: SCVI) -> pd.Categorical:
    """Return the batch of each of a model's cells, by the names that the model has for them."""
    codes = np.ravel(model.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY))
    return pd.Categorical(category_texts(categories(model, REGISTRY_KEYS.BATCH_KEY))[codes])


def _without_data(model: SCVI) -> SCVI:
    """Return a copy of a model, as it comes out of a file, that is bound to no data."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "model"))
        model.save(path)
        copy = SCVI.load(path, adata=False)
    for name in SPLITS:
        if hasattr(copy, name):
            delattr(copy, name)
    return copy
