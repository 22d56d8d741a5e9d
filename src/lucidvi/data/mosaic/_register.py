"""What ``setup_anndata`` of a model of several modalities does."""

from __future__ import annotations

import logging
from typing import Any

from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data.fields import BaseAnnDataField, LayerField, NumericalJointObsField

from lucidvi.data._setup import CheckedAnnDataManager
from lucidvi.data.covariates._fields import MatchedJointObsField, MatchedObsField
from lucidvi.data.modalities._fields import CountsField, PanelField
from lucidvi.data.modalities._registered import read_modalities
from lucidvi.data.mosaic._table import described, table

logger = logging.getLogger(__name__)


def register_joined(
    joined: AnnData, setup_method_args: dict[str, Any], **kwargs: Any
) -> CheckedAnnDataManager:
    """Register the counts, batches, labels and covariates of joined modalities.

    Parameters
    ----------
    joined
        Cells as :func:`~lucidvi.data.join` returns them.
    setup_method_args
        Name and arguments of the method that sets up, as scvi-tools collects them.
    **kwargs
        See :meth:`~lucidvi.data.CheckedAnnDataManager.register_fields`.
    """
    setup_args = setup_method_args["setup_args"]
    manager = CheckedAnnDataManager(
        fields=fields_of(joined, setup_args), setup_method_args=setup_method_args
    )
    manager.register_fields(joined, **kwargs)
    said = described(table(joined, setup_args.get("batch_key")))
    logger.info("Cells of each batch, and those that have a modality:\n%s", said)
    return manager


def fields_of(joined: AnnData, setup_args: dict[str, Any]) -> list[BaseAnnDataField]:
    """Return the fields of joined modalities.

    Parameters
    ----------
    joined
        See :func:`register_joined`.
    setup_args
        Arguments of the method that sets up.
    """
    modalities = read_modalities(joined).values()
    counts = LayerField(REGISTRY_KEYS.X_KEY, None, is_count_data=False, correct_data_format=False)
    categorical, continuous = (
        setup_args.get(f"{kind}_covariate_keys") for kind in ("categorical", "continuous")
    )
    return [
        counts,
        *(CountsField(modality.name) for modality in modalities if not modality.is_main),
        *(PanelField(modality) for modality in modalities),
        MatchedObsField(REGISTRY_KEYS.BATCH_KEY, setup_args.get("batch_key")),
        MatchedObsField(REGISTRY_KEYS.LABELS_KEY, setup_args.get("labels_key")),
        MatchedJointObsField(REGISTRY_KEYS.CAT_COVS_KEY, categorical),
        NumericalJointObsField(REGISTRY_KEYS.CONT_COVS_KEY, continuous),
    ]
