"""How a model was set up: which columns and genes it expects of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS


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
    """

    registry: Mapping[str, Any]
    genes: pd.Index
    uses_labels: bool

    @classmethod
    def of(cls, model: Any) -> Setup:
        """Read the setup of a model, with or without data."""
        dispersion = getattr(model.module, "dispersion", None)
        genes = pd.Index(model.get_var_names()).astype(str)
        return cls(model.registry, genes, dispersion == "gene-label")

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
        """Layer with the counts; None for ``X``."""
        return self.registry["setup_args"].get("layer")

    @property
    def is_count_data(self) -> bool:
        """Whether the values are counts."""
        return self.registry["setup_args"].get("is_count_data", True) is not False

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
