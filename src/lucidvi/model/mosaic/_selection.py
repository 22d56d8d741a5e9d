"""Cells as if only some of their modalities had been measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from torch import Tensor

from lucidvi._positions import as_sequence, name_positions
from lucidvi.checks import check_choice, listed
from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget
from lucidvi.model._cells import Cells
from lucidvi.module import DrawnStates, Exposure, Modality


class SelectionMixin(BaseModelClass):
    """Which modalities a model has, and which of them are looked at."""

    @property
    def modalities(self) -> dict[str, Modality]:
        """What is observed, by name; the first is the main one."""
        return dict(self.module.modalities)

    def get_feature_names(self, modality: str | None = None) -> pd.Index:
        """Return the names of the features of a modality.

        Parameters
        ----------
        modality
            Name of the modality; by default the main one.
        """
        name = self._modality_name(modality)
        if name == next(iter(self.modalities)):
            return pd.Index(self.get_var_names())
        return pd.Index(modality_states(self.registry)[name]["features"])

    def _modality_name(self, modality: str | None) -> str:
        names = list(self.modalities)
        if modality is None:
            return names[0]
        check_choice("modality", modality, names)
        return modality

    def _modality_names(self, argument: str, names: Any) -> list[str]:
        """Return several modalities, in the model's order; by default all."""
        every = list(self.modalities)
        if names is None:
            return every
        chosen = list(as_sequence(names, argument))
        if not chosen:
            raise DataError(f"`{argument}` is empty.", remedy=f"name some of {listed(every)}.")
        for name in chosen:
            check_choice(argument, name, every)
        return [name for name in every if name in chosen]

    def _targets_of(
        self, cells: Cells, names: Collection[str], description: str, batch_size: int | None
    ) -> Iterator[tuple[slice, PosteriorTarget]]:
        """Yield targets of cells of which some modalities are seen, of each at least one."""
        for rows, target in cells.with_modalities(names).targets(description, batch_size):
            _check_seen(cells, rows, target, names)
            yield rows, target

    def _columns(self, modality: str, features: Any) -> np.ndarray | None:
        """Return the positions of features that are asked for; None for all."""
        if features is None:
            return None
        wanted = [features] if isinstance(features, str) else features
        return name_positions(wanted, self.get_feature_names(modality), "features")

    def _batches_with(self, modality: str) -> np.ndarray:
        """Codes of the batches in which a modality was measured when the model was trained."""
        measured: Any = self.module.measured[list(self.modalities).index(modality)]
        return torch.nonzero(measured).squeeze(-1).cpu().numpy()

    def _drawn_of(self, tensors: Any, n_samples: int, modality: str) -> DrawnStates:
        """Draw states of the cells of a minibatch, draw by draw, to be decoded to a modality.

        Cells of batches in which it was not measured are as of those in which it was, in turn,
        and cells that lack it have the exposure of a typical one.
        """
        described = self.modalities[modality]
        states = self.module.drawn(tensors, n_samples)
        n_cells = len(states) // n_samples
        codes = torch.as_tensor(self._batches_with(modality))
        states = states.in_batches(codes, n_cells)
        present, own = tensors.get(described.present_field), states.log_exposures.get(modality)
        if present is None or own is None:
            return states
        has = present.reshape(-1, 1).bool().repeat(n_samples, 1).to(own.device)
        typical = self.module.typical_log_exposure[list(self.modalities).index(modality)]
        return states.with_log_exposure(modality, torch.where(has, own, typical.to(own)))

    def _depth(self, modality: str, library_size: float | None) -> float | None:
        """Return the exposure that values are of: that of a typical cell, or what is asked for."""
        kind = self.modalities[modality].exposure
        if kind is Exposure.NONE:
            if library_size is not None:
                raise DataError(
                    f"`library_size` is {library_size}, and {modality!r} has no exposure: its "
                    "means are those of counts as they are.",
                    remedy="leave `library_size` out.",
                )
            return None
        if library_size is not None:
            return float(library_size)
        typical = float(self.module.typical_log_exposure[list(self.modalities).index(modality)])
        return float(np.exp(typical))


def modality_states(registry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a registry says of each modality, by name, the main one first.

    Parameters
    ----------
    registry
        Registry of a model, or of the manager of its data.
    """
    states = [
        state
        for entry in registry["field_registries"].values()
        if "modality" in (state := entry.get("state_registry") or {})
    ]
    states.sort(key=lambda state: state["field"] != REGISTRY_KEYS.X_KEY)
    return {state["modality"]: state for state in states}


def _check_seen(
    cells: Cells, rows: slice, target: PosteriorTarget, names: Collection[str]
) -> None:
    """Raise where a cell has none of the modalities that its state is to be inferred from."""
    masks = [target.observed[name].present for name in names]
    if any(mask is None for mask in masks):
        return
    seen: Tensor = torch.stack([mask for mask in masks if mask is not None]).any(dim=0)
    if seen.all():
        return
    unseen = cells.names[rows][~seen.cpu().numpy()]
    raise DataError(
        f"{len(unseen):,} cells, such as {unseen[0]!r}, have none of {listed(names)}, so that "
        "nothing would be said of them but the prior.",
        remedy="choose cells that have one of these, `indices=...`, or more modalities.",
    )


def in_batches(target: PosteriorTarget, codes: Sequence[int], keep: Any) -> list[PosteriorTarget]:
    """Return a target as it would be in each of some batches.

    Parameters
    ----------
    target
        The cells.
    codes
        The batches.
    keep
        Codes of the batches whose cells stay what they are.
    """
    key = REGISTRY_KEYS.BATCH_KEY
    own = target.covariates[key]
    stays = torch.isin(own, torch.as_tensor(np.asarray(keep), dtype=own.dtype, device=own.device))
    if stays.all() or not len(codes):
        return [target]
    return [
        target.with_covariates({key: torch.where(stays, own, torch.full_like(own, code))})
        for code in codes
    ]
