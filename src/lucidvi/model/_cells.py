"""Cells that a model is asked about: one way from a selection of cells to their targets."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass

from lucidvi._brief import brief
from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._positions import cell_positions
from lucidvi.checks import user_columns
from lucidvi.data import ABSENT, CellLoader, Minibatch, Panels, registered_modalities
from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget

#: Values, of cells x features, of a minibatch, and most cells of one.
MINIBATCH, MOST_CELLS = 2**20, 512
#: What scvi-tools says of cells that are to be trained on.
FOR_TRAINING = ".* has fewer than 3 cells"


@dataclass(frozen=True, eq=False)
class Cells:
    """A selection of cells as one model reads them.

    Parameters
    ----------
    model
        The model that they are registered with, of LucidVI or of scvi-tools.
    adata
        The AnnData that holds them, its features in the model's order.
    positions
        Positions of the cells, shape ``(n_cells,)``; a cell may be there several times.
    codes
        Codes of covariates that take the place of the cells' own, by registry key.
    features
        Which features were measured in them, by modality, each of shape ``(n_features,)``; of a
        modality none of whose features was, the cells do not have it.
    """

    model: Any
    adata: AnnData
    positions: NDArray[np.integer]
    codes: Mapping[str, int] = field(default_factory=dict)
    features: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    __repr__ = brief

    @classmethod
    def of(
        cls, model: BaseModelClass, adata: AnnData | None = None, indices: Any | None = None
    ) -> Cells:
        """Check the cells and register them with the model.

        Parameters
        ----------
        model
            Model that reads them.
        adata
            AnnData that holds them, by default the model's own.
        indices
            Positions, a boolean mask, or names; by default all cells.

        Raises
        ------
        lucidvi.errors.DataError
            If there is no AnnData, or no counts in it, or cells that do not exist are asked for.
        """
        if adata is None and model.adata is None:
            raise DataError(
                "`model` has no AnnData, so it cannot read cells.",
                remedy=f"model = {type(model).__name__}.load(folder, adata=adata)",
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=FOR_TRAINING)
            adata = model._validate_anndata(adata)
        if adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
            raise DataError(
                "The AnnData is minified: its counts were replaced by latent states.",
                remedy="pass the AnnData with the counts.",
            )
        return cls(model, adata, cell_positions(indices, adata.obs_names))

    def __len__(self) -> int:
        return len(self.positions)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Cells:
        """Return some of the cells, by their place among these."""
        return replace(self, positions=self.positions[rows])

    def with_codes(self, codes: Mapping[str, int]) -> Cells:
        """Return the same cells as if they had other covariates, to be encoded so.

        Parameters
        ----------
        codes
            A code for all of the cells, by registry key, such as the number of a batch.
        """
        return replace(self, codes={**self.codes, **codes})

    def with_features(self, features: Mapping[str, NDArray[np.bool_]]) -> Cells:
        """Return the same cells as if only some features were measured in them.

        Parameters
        ----------
        features
            See :class:`Cells`.
        """
        return replace(self, features={**self.features, **features})

    def with_modalities(self, names: Collection[str]) -> Cells:
        """Return the same cells as if only some modalities had been measured in them.

        Parameters
        ----------
        names
            Names of these modalities.
        """
        hidden = {
            name: np.zeros(modality.n_features, dtype=bool)
            for name, modality in self.model.module.modalities.items()
            if name not in names
        }
        return self.with_features(hidden) if hidden else self

    def have(self, modality: str | None = None) -> NDArray[np.bool_]:
        """Return which of the cells have a modality, by default the main one, ``(n_cells,)``."""
        panels = self._panels(modality)
        return np.ones(len(self), bool) if panels is None else panels.present[self.positions]

    def measured_in_all(self, modality: str | None = None) -> NDArray[np.bool_] | None:
        """Return which features were measured in all of the cells that have a modality.

        Parameters
        ----------
        modality
            Its name, by default the main one.

        Returns
        -------
        Mask, shape ``(n_features,)``; None for all of them.
        """
        panels = self._panels(modality)
        if panels is None or panels.is_complete:
            return None
        used = np.unique(panels.codes[self.positions])
        return panels.table[used[used != ABSENT]].all(axis=0)

    def _panels(self, modality: str | None) -> Panels | None:
        """Return the panels of a modality, None where all is measured in all cells."""
        field = REGISTRY_KEYS.X_KEY
        if modality is not None:
            field = self.model.module.modalities[modality].field
        manager = self.model.get_anndata_manager(self.adata, required=True)
        registered = registered_modalities(manager).get(field)
        return None if registered is None else registered.panels

    @property
    def names(self) -> pd.Index:
        """Names of the cells, shape ``(n_cells,)``."""
        return self.adata.obs_names[self.positions]

    @property
    def obs(self) -> pd.DataFrame:
        """Columns of ``obs`` of the cells, a copy, without those that scvi-tools adds."""
        obs = self.adata.obs.iloc[self.positions]
        return obs[user_columns(obs.columns)]

    def field(self, key: str) -> NDArray[Any]:
        """Return a registered field of the cells, such as their batches or labels as codes.

        Parameters
        ----------
        key
            One of scvi-tools' ``REGISTRY_KEYS``.

        Returns
        -------
        Shape ``(n_cells, ...)``.
        """
        manager = self.model.get_anndata_manager(self.adata, required=True)
        values = manager.get_from_registry(key)
        values = values.to_numpy() if isinstance(values, pd.DataFrame) else values
        return values[self.positions]

    @property
    def counts(self) -> Any:
        """Counts, as they are stored, shape ``(n_cells, n_features)``."""
        return self.field(REGISTRY_KEYS.X_KEY)

    def targets(
        self,
        description: str | None = None,
        batch_size: int | None = None,
        genes: NDArray[np.bool_] | None = None,
    ) -> Iterator[tuple[slice, PosteriorTarget]]:
        """Yield which of the cells, and their target, minibatch by minibatch in their order.

        Parameters
        ----------
        description
            What the progress bar says, which appears if it takes long; None for none.
        batch_size
            Cells of a minibatch; by default what fits the memory.
        genes
            Mask of the measured features, see
            :meth:`lucidvi.inference.PosteriorTarget.from_module`.
        """
        for rows, minibatch in self.minibatches(description, batch_size):
            yield rows, PosteriorTarget.from_module(self.model.module, minibatch, genes)

    def minibatches(
        self, description: str | None = None, batch_size: int | None = None
    ) -> Iterator[tuple[slice, Minibatch]]:
        """Yield which of the cells, and their tensors, minibatch by minibatch in their order.

        Parameters
        ----------
        description, batch_size
            See :meth:`targets`.
        """
        size = batch_size or max(1, min(MOST_CELLS, MINIBATCH // self.adata.n_vars))
        loader = self.model._make_data_loader(
            adata=self.adata, indices=self.positions, batch_size=size
        )
        if description is not None and isinstance(loader, CellLoader):
            loader.description, loader.slow_steps = description, True
        for start, minibatch in zip(range(0, len(self), size), loader, strict=True):
            for key, code in self.codes.items():
                minibatch[key] = torch.full_like(minibatch[key], code)
            if self.features:
                minibatch |= self._measured(minibatch)
            yield slice(start, min(start + size, len(self))), minibatch

    def _measured(self, minibatch: Minibatch) -> Minibatch:
        """Say what was measured of cells, of what the data have, as modules read it."""
        tensors, n_cells = {}, minibatch[REGISTRY_KEYS.X_KEY].shape[0]
        for key, features in self.features.items():
            modality, mask = self.model.module.modalities[key], torch.as_tensor(features)
            if mask.any():
                there = minibatch.get(modality.features_field)
                mask = mask.expand(n_cells, -1)
                tensors[modality.features_field] = mask if there is None else mask & there.bool()
            else:
                tensors[modality.present_field] = mask.new_zeros(n_cells)
        return tensors
