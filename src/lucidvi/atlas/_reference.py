"""A reference: what mapping needs of a model and its cells, without the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from anndata import AnnData

from lucidvi._kinds import checked
from lucidvi.atlas._data import ReferenceData
from lucidvi.atlas._folder import read_folder, write_folder
from lucidvi.atlas._making import made_of
from lucidvi.atlas.mapping._map import annotate_query, map_query
from lucidvi.atlas.mapping._request import Request
from lucidvi.results import Calibration


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """A trained model and its cells' latent posteriors and labels, to map other cells onto.

    Made by :meth:`from_model` or :meth:`load`. Mapping changes nothing in it.

    Parameters
    ----------
    model
        The model, without data.
    data
        Posteriors, labels and calibration of the reference cells.

    Examples
    --------
    >>> from lucidvi.atlas import Reference
    >>> reference = Reference.from_model(model, labels_key="cell_type")  # doctest: +SKIP
    >>> reference.save("my_reference")  # doctest: +SKIP
    >>> out = Reference.load("my_reference").map(query)  # doctest: +SKIP
    >>> out.obs[["lucidvi_call", "lucidvi_confidence", "lucidvi_novelty"]]  # doctest: +SKIP
    """

    model: Any
    data: ReferenceData

    @classmethod
    def from_model(
        cls,
        model: Any,
        labels_key: str | Sequence[str] = "cell_type",
    ) -> Self:
        """Make a reference of a trained model and the cells that it is bound to.

        Some of the cells, by preference those that the model was not trained on, are labelled by
        the others, so that confidences and p-values of queries are calibrated.

        Parameters
        ----------
        model
            Trained model of LucidVI, of any class, or a SCVI or SCANVI of scvi-tools (see
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
        return cls(*made_of(model, labels_key))

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
        write_folder(self.model, self.data, Path(dir_path), overwrite)

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

    @checked
    def map(
        self,
        query: AnnData,
        batch_key: str | None = None,
        *,
        layer: str | None = None,
        gene_key: str | None = None,
        novelty_rate: float = 0.05,
        min_confidence: float = 0.8,
        posterior: Literal["refined", "encoder"] = "refined",
    ) -> AnnData:
        """Map cells onto the reference and give them its labels.

        Genes are matched by name, symbol or Ensembl id. Each cell's posterior is refined with the
        likelihood of the genes that were measured, so genes that are missing are not taken for
        zeros; nor are other modalities, such as proteins, that the query lacks, or some of their
        features. A batch that the model does not know is decoded as the known one that fits best,
        with shifts of its genes that are learned on the query with everything else frozen. A
        label is the one that most of a cell's 15 nearest reference cells have, over draws of its
        posterior. A cell is unknown if it is further from them, and (in a known batch) its
        residuals have more in common with those of the query's cells next to it, than is usual
        for the cells that the reference is calibrated by.

        Parameters
        ----------
        query
            Cells with counts, in memory or in a file, and the columns that the model was set up
            with. Modalities beside the genes are read from where the reference had them, if they
            are there: the features of a table by name, those of a matrix by their order. Nothing
            in it is changed.
        batch_key
            Column of ``query.obs`` with the batches; by default that of the reference.
        layer
            Layer with the counts, or ``"raw"`` for those of ``query.raw``, with its genes; by
            default that of the reference where the query has it, else ``query.X``.
        gene_key
            Column of ``query.var`` with the names of the genes, such as symbols beside Ensembl
            ids. By default the one that finds most of the model's genes, ``var_names`` among
            equals. Counts of genes that share a name in such a column are added up.
        novelty_rate
            Share of cells of known types that may be called unknown.
        min_confidence
            With several levels of labels, the probability from which on a call is finer than the
            coarsest level.
        posterior
            ``"refined"`` for each cell's own posterior, found with the decoder fixed and linear
            around the cell (:func:`lucidvi.inference.linearized`), and without the genes that
            are missing; ``"encoder"`` for the encoder's, which takes genes that are missing for
            zeros, and is faster. Refinement is under the prior that the model states: of a SCANVI
            that is a standard normal and not the prior of each label, so on the T cells of
            lupus_t it gives 0.808 of the cells their label, and the encoder 0.837
            (``benchmarks/semi_supervised.md``). Confidences and p-values are calibrated with
            refined posteriors.

        Returns
        -------
        ``obs`` and ``var`` of the query, with latent means in ``obsm["X_lucidvi"]``, their
        standard deviations in ``obsm["X_lucidvi_scale"]``, and in ``uns["lucidvi"]`` which
        modalities were there, and which share of the model's genes, of its expression and of its
        information was measured. In ``obs``:

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
            Whatever is wrong with the query: no gene of the model, no feature of a modality that
            is there, values that are not counts, no cells, cells without counts, missing columns,
            batches that cannot be learned; or with a rate.

        Warns
        -----
        UserWarning
            If the reference was calibrated by so few cells that none can be called unknown, or if
            its batches have so few labels in common that new batches cannot be judged. If it has
            no batches, and most cells are unknown.
        """
        request = Request(batch_key, layer, gene_key, novelty_rate, min_confidence, posterior)
        return map_query(self.model, self.data, query, request)

    @checked
    def annotate(
        self,
        query: AnnData,
        batch_key: str | None = None,
        *,
        layer: str | None = None,
        gene_key: str | None = None,
        novelty_rate: float = 0.05,
        min_confidence: float = 0.8,
        posterior: Literal["refined", "encoder"] = "refined",
    ) -> dict[str, list[str]]:
        """Map cells as :meth:`map` does, and write the result into them.

        Parameters
        ----------
        query
            Cells with counts, in memory or in a file. What :meth:`map` adds to ``obs``, ``obsm``
            and ``uns`` is added to them, all of it or, if anything is raised, nothing. A view
            becomes an AnnData of its own. Of cells in a file the tables in memory are written,
            the file is not.
        batch_key, layer, gene_key, novelty_rate, min_confidence, posterior
            See :meth:`map`.

        Returns
        -------
        Names of what was written, by the slot that it is in: ``"obs"``, ``"obsm"`` and ``"uns"``.

        Raises
        ------
        lucidvi.errors.DataError
            If nothing can be written to the cells: they are a collection, or a view of cells in a
            file. And whatever :meth:`map` raises.
        """
        request = Request(batch_key, layer, gene_key, novelty_rate, min_confidence, posterior)
        return annotate_query(self.model, self.data, query, request)

    @property
    def cells(self) -> AnnData:
        """The reference cells, without counts, see :class:`lucidvi.atlas.ReferenceData`."""
        return self.data.cells

    @property
    def labels(self) -> pd.Series:
        """Labels of the reference cells, the finest, by the names of the cells."""
        return self.data.labels

    @property
    def batches(self) -> pd.Series | None:
        """Batches of the reference cells, by their names; None if the model has none."""
        return self.data.batches

    @property
    def calibration(self) -> Calibration | None:
        """How far labels can be believed; None for a reference of one cell or an old folder."""
        return self.data.calibration

    @property
    def n_bytes_per_cell(self) -> float:
        """Bytes of a reference cell in memory: posterior, labels, batch and name."""
        return self.data.n_bytes_per_cell

    def __repr__(self) -> str:
        labels = len(self.labels.cat.categories)
        return (
            f"Reference({self.cells.n_obs:,} cells, {self.cells.n_vars:,} genes, "
            f"{labels} labels in {self.data.labels_key!r})"
        )
