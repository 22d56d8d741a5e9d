"""What a joined AnnData says of its modalities, and what a registry says of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi import REGISTRY_KEYS

from lucidvi._brief import brief
from lucidvi.data.modalities._panels import Panels

if TYPE_CHECKING:
    from scvi.data import AnnDataManager

#: Where a joined AnnData says what its modalities are, in ``uns``.
MODALITIES = "lucidvi_modalities"
#: How the names of the columns of panels begin, in ``obs``.
COLUMN = "lucidvi_panel_"


@dataclass(frozen=True, eq=False)
class JoinedModality:
    """One modality of a joined AnnData.

    Parameters
    ----------
    name
        Its name.
    kind
        What it is, such as ``"protein"``.
    is_main
        Whether its counts are in ``X``; those of the others are in ``obsm``, by name.
    features
        Names of its features.
    panels
        What was measured in which cells.
    needs_counts
        Whether a cell that has it has to have a count of it.
    specification
        What was said of it, in plain types.
    """

    name: str
    kind: str
    is_main: bool
    features: pd.Index
    panels: Panels
    needs_counts: bool = False
    specification: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = brief

    @property
    def field(self) -> str:
        """Registry key of its counts."""
        return REGISTRY_KEYS.X_KEY if self.is_main else self.name

    @property
    def column(self) -> str:
        """Name of the column of ``obs`` that says which panel a cell was measured with."""
        return COLUMN + self.name

    @property
    def place(self) -> str:
        """Code by which its counts are reached."""
        return "adata.X" if self.is_main else f"adata.obsm[{json.dumps(self.name)}]"

    def counts(self, adata: AnnData) -> Any:
        """Return its counts, shape ``(n_cells, n_features)``."""
        return adata.X if self.is_main else adata.obsm[self.name]

    def registry(self) -> dict[str, Any]:
        """Return what is registered of it, in plain types."""
        return {
            "field": self.field,
            "modality": self.name,
            "kind": self.kind,
            "features": list(map(str, self.features)),
            "n_panels": len(self.panels.table),
            "specification": dict(self.specification),
        }


def anndata_of(matrix: Any, obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    """Return an AnnData, without a word on names that repeat: its cells are those of another.

    Parameters
    ----------
    matrix
        Counts, shape ``(n_cells, n_features)``, not copied.
    obs, var
        Tables of cells and of features.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Observation|Variable) names are not unique")
        return AnnData(matrix, obs=obs, var=var)


def write_modalities(adata: AnnData, modalities: Mapping[str, JoinedModality]) -> None:
    """Say in an AnnData what its modalities are, in a form that its files keep.

    Parameters
    ----------
    adata
        Cells with the counts of the modalities.
    modalities
        The modalities, by name.
    """
    adata.uns[MODALITIES] = {
        name: {
            "position": position,
            "kind": modality.kind,
            "needs_counts": modality.needs_counts,
            "features": np.asarray(modality.features, dtype=object),
            "panels": modality.panels.table,
            "specification": json.dumps(dict(modality.specification)),
        }
        for position, (name, modality) in enumerate(modalities.items())
    }
    for modality in modalities.values():
        adata.obs[modality.column] = modality.panels.codes


def is_joined(adata: Any) -> bool:
    """Return whether an AnnData was joined of several modalities."""
    return MODALITIES in getattr(adata, "uns", {})


def read_modalities(adata: AnnData) -> dict[str, JoinedModality]:
    """Return the modalities of a joined AnnData, by name, the main one first.

    Parameters
    ----------
    adata
        A joined AnnData, or some of its cells.
    """
    stored = sorted(adata.uns[MODALITIES].items(), key=lambda item: int(item[1]["position"]))
    return {
        name: JoinedModality(
            name=name,
            kind=str(entry["kind"]),
            is_main=position == 0,
            features=pd.Index(np.asarray(entry["features"], dtype=object)),
            panels=Panels(
                adata.obs[COLUMN + name].to_numpy(),
                np.asarray(entry["panels"], dtype=bool).reshape(-1, len(entry["features"])),
            ),
            needs_counts=bool(entry["needs_counts"]),
            specification=json.loads(str(entry["specification"])),
        )
        for position, (name, entry) in enumerate(stored)
    }


def registered_modalities(manager: AnnDataManager) -> dict[str, JoinedModality]:
    """Return the modalities that were registered, by the registry key of their counts.

    Parameters
    ----------
    manager
        Manager of registered cells. Of one modality without a word on what was measured there
        is nothing to return.
    """
    names = [
        state["modality"]
        for entry in manager.registry["field_registries"].values()
        if "modality" in (state := entry.get("state_registry") or {})
    ]
    if not names:
        return {}
    every = read_modalities(manager.adata)
    return {every[name].field: every[name] for name in names}
