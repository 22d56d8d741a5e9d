"""Whether what a file holds is what a saved model consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lucidvi._compat import SAVE_KEYS
from lucidvi.errors import FileError, UntrustedFileError

LAYOUT_KEY, LAYOUT = "lucidvi_layout", 1
PARTS = (SAVE_KEYS.MODEL_STATE_DICT_KEY, SAVE_KEYS.VAR_NAMES_KEY, SAVE_KEYS.ATTR_DICT_KEY)
DATAMODULE_KEYS = ("n_batch", "n_labels", "n_sample", "n_vars", "batch_labels", "label_keys")
COVARIATE_KEYS = ("n_extra_categorical_covs", "n_extra_continuous_covs")
_SETUP_METHODS = ("setup_anndata", "setup_mudata", "setup_datamodule")
#: Entries of a module's state that are no tensors.
_NO_TENSORS = ("pyro_param_store", "_extra_state")


def check_layout(path: str, saved: Any) -> None:
    """Raise :class:`FileError` unless the parts of a saved model are there."""
    layout = saved.get(LAYOUT_KEY, LAYOUT) if isinstance(saved, dict) else LAYOUT
    if type(layout) is not int or layout != LAYOUT:
        found = layout if isinstance(layout, int) else f"a {type(layout).__name__}"
        raise FileError(
            f"{path} has layout {found}; this version of LucidVI reads {LAYOUT}.",
            remedy="pip install --upgrade lucidvi",
        )
    kinds: tuple[Any, ...] = (dict, (np.ndarray, pd.Index, list, tuple, dict), dict)
    if not isinstance(saved, dict) or not all(
        isinstance(saved.get(part), kind) for part, kind in zip(PARTS, kinds, strict=True)
    ):
        what = f"a {type(saved).__name__}"
        if isinstance(saved, dict):
            what = f"a dictionary with the keys {', '.join(map(repr, list(saved)[:5]))}"
        raise FileError(
            f"{path} is not a saved model: it holds {what}, where {', '.join(PARTS)} belong.",
            remedy="pass the folder that `model.save(...)` wrote. Weights alone are read by "
            "`model.module.load_state_dict(...)`.",
        )
    attributes = saved[SAVE_KEYS.ATTR_DICT_KEY]
    needed = ("init_params_", "registry_")
    missing = [key for key in needed if not isinstance(attributes.get(key), Mapping)]
    if missing:
        raise FileError(
            f"{path} lacks {' and '.join(missing)} among the attributes of the model.",
            remedy="a model that scvi-tools before 0.15 saved is converted by its "
            "`convert_legacy_save`.",
        )


def check_attributes(path: str, attributes: dict[str, Any]) -> None:
    """Raise if attributes would call, or take the place of, something else than they should."""
    expected = (*DATAMODULE_KEYS, *COVARIATE_KEYS)
    for name in attributes:
        if name not in expected and not (name.isidentifier() and name.strip("_") + "_" == name):
            raise UntrustedFileError(
                f"{path} sets `{name}`, which is no attribute that a model saves.",
                remedy="pass `trust=True` to `load` only if you trust whoever made the file.",
            )
    # scvi-tools calls the methods that have these names.
    setup = attributes["registry_"].get("setup_method_name", "setup_anndata")
    expression = attributes.get("get_normalized_function_name_", "get_normalized_expression")
    if setup not in _SETUP_METHODS or not str(expression).startswith("get_normalized_"):
        raise UntrustedFileError(
            f"{path} asks for the methods `{setup}` and `{expression}`, where setting up data "
            "and getting normalized values belong.",
            remedy="pass `trust=True` to `load` only if you trust whoever made the file.",
        )


def check_weights(weights: Mapping[Any, Any]) -> None:
    """Raise :class:`ValueError` for weights that are no tensors of real numbers."""
    for name, value in weights.items():
        if isinstance(name, str) and name.endswith(_NO_TENSORS):
            continue
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.is_complex():
            raise ValueError(f"the weights {name!r} are no tensor of real numbers")


def check_names(names: Any) -> None:
    """Raise :class:`ValueError` for names of genes that are no texts in a row."""
    for part in names.values() if isinstance(names, Mapping) else [names]:
        if part.ndim != 1 or not all(isinstance(name, str) for name in part):
            raise ValueError("the names of the genes are no list of texts")


def check_registry(registry: Mapping[str, Any]) -> None:
    """Raise :class:`ValueError` for a registry of another form than scvi-tools gives it."""
    if not isinstance(registry.get("model_name", ""), str):
        raise ValueError("the name of the model is no text")
    if not isinstance(registry.get("setup_args", {}), dict):
        raise ValueError("the arguments of the setup are no dictionary")
    fields = registry.get("field_registries", {})
    if not isinstance(fields, dict) or not all(isinstance(one, dict) for one in fields.values()):
        raise ValueError("the fields of the registry are no dictionaries")
    if registry.get("setup_method_name") == "setup_anndata":
        check_columns(registry.get("setup_args", {}), fields)
    for name, field in fields.items():
        state = field.get("state_registry")
        if not isinstance(state, dict) or not isinstance(field.get("data_registry"), dict):
            raise ValueError(f"what is kept of the field {name!r} is no dictionary")
        mappings = state.get("mappings")
        if not isinstance(mappings, dict | None):
            raise ValueError(f"the categories of the field {name!r} are no dictionary")
        for categories in (state.get("categorical_mapping"), *(mappings or {}).values()):
            if categories is None:
                continue
            if np.ndim(categories) != 1 or len(np.unique(categories)) < len(categories):
                raise ValueError(f"the categories of the field {name!r} are no list of names")


def check_columns(setup: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Raise :class:`ValueError` for a field that is of another column than the setup says."""
    for name in ("batch", "labels"):
        given = setup.get(f"{name}_key")
        state = fields.get(name, {}).get("state_registry")
        column = state.get("original_key") if isinstance(state, dict) else None
        if column not in (None, given or f"_scvi_{name}"):
            raise ValueError(f"{name}_key is {given!r}, and its field is of {column!r}")
