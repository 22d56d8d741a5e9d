"""How a model was set up: which columns and genes it expects of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from lucidvi.module import Modality


class Place(NamedTuple):
    """Where values are in an AnnData.

    Parameters
    ----------
    slot, key
        Such as ``"obsm"`` and ``"protein"``; ``"X"`` has no key.
    names
        Names of the features, as they were registered; None for those of the genes.
    """

    slot: str
    key: str | None
    names: Any = None

    def __str__(self) -> str:
        return f"query.{self.slot}" + ("" if self.key is None else f'["{self.key}"]')


@dataclass(frozen=True)
class Setup:
    """What a model's registry says of its cells.

    Parameters
    ----------
    registry
        The registry.
    genes
        Names of the model's genes.
    uses_labels
        Whether the likelihood depends on the labels.
    modalities
        What the model observes of cells, by name; the first is the main one, whose features are
        the genes.
    """

    registry: Mapping[str, Any]
    genes: pd.Index
    uses_labels: bool
    modalities: Mapping[str, Modality]

    @classmethod
    def of(cls, model: Any) -> Setup:
        """Read the setup of a model, with or without data."""
        genes = pd.Index(model.get_var_names()).astype(str)
        return cls(model.registry, genes, model.module.uses_labels, model.module.modalities)

    @property
    def main(self) -> Modality:
        """The modality whose features are the genes."""
        return next(iter(self.modalities.values()))

    @property
    def others(self) -> dict[str, Modality]:
        """All other modalities, by name."""
        return dict(list(self.modalities.items())[1:])

    def place(self, modality: Modality) -> Place:
        """Return where the values of a modality are in an AnnData."""
        field = self.registry["field_registries"][modality.field]
        data, state = field["data_registry"], field.get("state_registry", {})
        return Place(data["attr_name"], data.get("attr_key"), state.get("column_names"))

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``setup_anndata``, those of labels that are not used left out."""
        arguments = dict(self.registry["setup_args"])
        return arguments if self.uses_labels else arguments | {"labels_key": None}

    @property
    def batch_key(self) -> str | None:
        """Column with the batches; None if there is none."""
        return self.registry["setup_args"].get("batch_key")

    @property
    def labels_key(self) -> str | None:
        """Column with labels, which the model has to see also where it does not use them."""
        return self.registry["setup_args"].get("labels_key")

    @property
    def layer(self) -> str | None:
        """Layer with the counts of the genes; None for ``X``."""
        place = self.place(self.main)
        return place.key if place.slot == "layers" else None

    @property
    def is_count_data(self) -> bool:
        """Whether the values of the main modality are counts."""
        is_said = self.registry["setup_args"].get("is_count_data", True) is not False
        return is_said and self.main.likelihood.is_counts

    @property
    def batches(self) -> NDArray[Any]:
        """Batches that the model knows, in the order of their numbers."""
        return self._categories(REGISTRY_KEYS.BATCH_KEY)

    @property
    def labels(self) -> NDArray[Any]:
        """Labels that the model knows, in the order of their numbers."""
        return self._categories(REGISTRY_KEYS.LABELS_KEY)

    @property
    def covariates(self) -> Mapping[str, Any]:
        """Categories of the categorical covariates, by column."""
        field = self.registry["field_registries"].get(REGISTRY_KEYS.CAT_COVS_KEY, {})
        return field.get("state_registry", {}).get("mappings", {})

    def _categories(self, key: str) -> NDArray[Any]:
        return self.registry["field_registries"][key]["state_registry"]["categorical_mapping"]
