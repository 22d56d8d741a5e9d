"""Setting up spliced and unspliced counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi.data import (
    Reader,
    StoredCounts,
    check_counts,
    check_is_no_view,
    check_layer,
    layer_names,
    opened,
    unchanged_on_error,
)
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.model._documentation import described
from lucidvi.model._setup import SetupMixin

#: The layer that keeps the sums of spliced and unspliced counts.
SUMS = "spliced_and_unspliced"


class FlowSetupMixin(SetupMixin):
    """Reads two layers: the counts of spliced and of unspliced molecules."""

    @classmethod
    @described
    def setup_anndata(
        cls,
        adata: AnnData,
        spliced_layer: str = "spliced",
        unspliced_layer: str = "unspliced",
        batch_key: str | None = None,
        labels_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        *,
        layer: str = SUMS,
        **kwargs: Any,
    ) -> AnnData | None:
        """Set up spliced and unspliced counts for this model.

        Parameters
        ----------
        adata
            Cells with two layers of counts. A third one is added, with their sums.
        spliced_layer, unspliced_layer
            Names of the layers. Counts are needed as they were made: whoever smooths or
            normalizes layers under these names keeps the counts under others first.
        batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys
            Columns of ``adata.obs``.
        layer
            Name of the layer that is added.
        **kwargs
            For cells of a saved model, see
            :meth:`~lucidvi.data.CheckedAnnDataManager.register_fields`.

        Returns
        -------
        The cells of a file that was given by its path; else None.

        Raises
        ------
        lucidvi.errors.DataError
            If values are not counts, there are no unspliced ones, or a cell has none at all. It
            names the place and the remedy.
        lucidvi.errors.MissingKeyError
            If a layer or a column does not exist.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        setup_method_args["setup_args"]["is_count_data"] = True
        cells = opened(adata)
        check_is_no_view(cells)
        # Cells of a saved model may have come without the two layers, as those of a reference do.
        has_sums = "source_registry" in kwargs and layer in layer_names(cells)
        with unchanged_on_error(cells):
            if not has_sums:
                add_sums(cells, spliced_layer, unspliced_layer, layer)
            cls._register_counts(cells, setup_method_args, **kwargs)
        return None if cells is adata else cells

    def _read_as_mine(self, data: Any, batch_key: str | None = None) -> Any:
        """Return cells with the sums of their spliced and unspliced counts."""
        arguments = self.registry["setup_args"]
        if isinstance(data, AnnData) and arguments["layer"] not in layer_names(data):
            spliced, unspliced = arguments["spliced_layer"], arguments["unspliced_layer"]
            data = data.copy() if data.is_view else data
            add_sums(data, spliced, unspliced, arguments["layer"])
        return data

    def _validate_anndata(
        self, adata: AnnData | None = None, copy_if_view: bool = True
    ) -> AnnData:
        """Register cells with this model."""
        return super()._validate_anndata(self._read_as_mine(adata), copy_if_view)


def add_sums(adata: AnnData, spliced_layer: str, unspliced_layer: str, layer: str) -> None:
    """Add a layer with the sums of spliced and unspliced counts.

    Parameters
    ----------
    adata
        The cells.
    spliced_layer, unspliced_layer, layer
        See :meth:`FlowSetupMixin.setup_anndata`.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If a layer is missing, or holds no counts.
    """
    if len({spliced_layer, unspliced_layer, layer}) < 3:
        raise DataError(
            f"`spliced_layer`, `unspliced_layer` and `layer` are {spliced_layer!r}, "
            f"{unspliced_layer!r} and {layer!r}, and have to be three layers.",
            remedy='spliced_layer="spliced", unspliced_layer="unspliced"',
        )
    counts = []
    for argument, name in (("spliced", spliced_layer), ("unspliced", unspliced_layer)):
        _check_there(adata, f"{argument}_layer", name)
        check_counts(adata, name, reader=Reader(layer=name), may_be_empty=_all(adata))
        counts.append(sparse.csr_matrix(StoredCounts(adata.layers[name])[:]))
    if counts[1].sum() == 0:
        raise DataError(
            f"adata.layers[{unspliced_layer!r}] has no count at all, so that nothing tells where "
            "cells go.",
            remedy="count unspliced molecules, too, such as with `kb count --workflow nac`.",
        )
    adata.layers[layer] = counts[0] + counts[1]


def _check_there(adata: AnnData, argument: str, name: str) -> None:
    names = layer_names(adata)
    if name not in names:
        raise MissingKeyError(
            f"`{argument}` is {name!r}, and adata.layers has {', '.join(map(repr, names))}."
            if names
            else f"`{argument}` is {name!r}, and adata.layers has nothing.",
            remedy=f'{argument}="...", the layer with the counts of the '
            f"{argument.removesuffix('_layer')} molecules.",
        )
    check_layer(adata, name)


def _all(adata: AnnData) -> np.ndarray:
    return np.ones(adata.n_obs, dtype=bool)
