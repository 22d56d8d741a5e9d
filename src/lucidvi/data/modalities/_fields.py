"""scvi's fields of a modality: its counts, and what was measured."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from scvi.data.fields import BaseAnnDataField

from lucidvi.data.modalities._registered import (
    COLUMN,
    JoinedModality,
    is_joined,
    read_modalities,
)

#: What the registry key of a modality's panels ends in, behind that of its counts.
PANEL = "_panel"


def panel_key(field: str) -> str:
    """Return the registry key of a modality's panels.

    Parameters
    ----------
    field
        Registry key of its counts.
    """
    return f"{field}{PANEL}"


class CountsField(BaseAnnDataField):
    """Counts of a modality beside the main one, CSR in ``obsm``.

    Parameters
    ----------
    name
        Name of the modality, which is the registry key and the key of ``obsm``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def registry_key(self) -> str:
        """Name of the modality."""
        return self._name

    @property
    def attr_name(self) -> str:
        """Where the counts are."""
        return "obsm"

    @property
    def attr_key(self) -> str:
        """Name of the counts there."""
        return self._name

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to register; never."""
        return False

    def validate_field(self, adata: AnnData) -> None:
        """Raise KeyError if there are no such counts."""
        super().validate_field(adata)
        if self._name not in adata.obsm:
            raise KeyError(f"{self._name} not found in adata.obsm.")

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Register the counts as they are."""
        self.validate_field(adata)
        return {}

    def transfer_field(
        self, state_registry: dict[str, Any], adata_target: AnnData, **kwargs: Any
    ) -> dict[str, Any]:
        """Register the counts of other cells, which were joined with the features of a model."""
        return self.register_field(adata_target)

    def get_summary_stats(self, state_registry: dict[str, Any]) -> dict[str, Any]:
        """Return nothing: the panels say how many features there are."""
        return {}

    def view_state_registry(self, state_registry: dict[str, Any]) -> None:
        """Show nothing."""


class PanelField(BaseAnnDataField):
    """Which features of a modality were measured in which cells: codes in ``obs``.

    Its state is what a registry says of the modality: see
    :meth:`~lucidvi.data.modalities._registered.JoinedModality.registry`.

    Parameters
    ----------
    modality
        The modality.
    """

    def __init__(self, modality: JoinedModality) -> None:
        super().__init__()
        self.name, self._field = modality.name, modality.field

    @property
    def registry_key(self) -> str:
        """See :func:`panel_key`."""
        return panel_key(self._field)

    @property
    def attr_name(self) -> str:
        """Where the codes are."""
        return "obs"

    @property
    def attr_key(self) -> str:
        """Name of the column."""
        return COLUMN + self.name

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to register; never."""
        return False

    def validate_field(self, adata: AnnData) -> None:
        """Raise KeyError if there is no such column."""
        super().validate_field(adata)
        if self.attr_key not in adata.obs:
            raise KeyError(f"{self.attr_key} not found in adata.obs.")

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Register the modality."""
        self.validate_field(adata)
        return read_modalities(adata)[self.name].registry()

    def transfer_field(
        self, state_registry: dict[str, Any], adata_target: AnnData, **kwargs: Any
    ) -> dict[str, Any]:
        """Register the modality of other cells, which were joined with the features of a model."""
        return self.register_field(adata_target)

    def get_summary_stats(self, state_registry: dict[str, Any]) -> dict[str, Any]:
        """Return the number of features."""
        return {f"n_{self.name}_features": len(state_registry["features"])}

    def view_state_registry(self, state_registry: dict[str, Any]) -> None:
        """Show nothing."""


def with_panels_of(adata: AnnData, fields: list[BaseAnnDataField]) -> list[BaseAnnDataField]:
    """Return fields of one modality with that of its panels, where and only where there are some.

    Parameters
    ----------
    adata
        Cells, such as those of several files, some of which lack genes.
    fields
        Fields of a model; of one of several modalities they are returned as they are.
    """
    if any(isinstance(field, CountsField) for field in fields):
        return fields
    fields = [field for field in fields if not isinstance(field, PanelField)]
    modalities = read_modalities(adata) if is_joined(adata) else {}
    return fields + [PanelField(main) for main in modalities.values() if len(modalities) == 1]
