"""What ``model.pt`` holds: written of plain types only, read and checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pyro
import scvi
from lightning import LightningDataModule
from scvi.model.base import BaseModelClass

from lucidvi._compat import SAVE_KEYS, download
from lucidvi.data import align_genes
from lucidvi.errors import FileError, UntrustedFileError
from lucidvi.files._atomic import newest
from lucidvi.files._reader import read_pickle
from lucidvi.files._values import (
    frame_of,
    functions_by_name,
    named_functions,
    plain_frame,
    plain_registry,
    plain_value,
)

LAYOUT_KEY, LAYOUT = "lucidvi_layout", 1
_PARTS = (SAVE_KEYS.MODEL_STATE_DICT_KEY, SAVE_KEYS.VAR_NAMES_KEY, SAVE_KEYS.ATTR_DICT_KEY)
_SETUP_METHODS = ("setup_anndata", "setup_mudata", "setup_datamodule")
_DATAMODULE_KEYS = ("n_batch", "n_labels", "n_sample", "n_vars", "batch_labels", "label_keys")
_COVARIATE_KEYS = ("n_extra_categorical_covs", "n_extra_continuous_covs")
# A history, `..._history_`, is a dictionary of tables; its values are stored under this name.
_HISTORY, _HISTORY_VALUES = "history_", "history_values_"


def contents(
    model: BaseModelClass,
    legacy_mudata_format: bool = False,
    datamodule: LightningDataModule | None = None,
) -> dict[str, Any]:
    """Return what is saved of a model, in scvi's layout and of plain types only."""
    if model.module is None:
        raise FileError(
            "The model has no weights yet, so there is nothing to save.",
            remedy="call `model.train(datamodule=...)` first.",
        )
    attributes = {name: value for name, value in model._get_user_attributes() if name[-1] == "_"}
    attributes["init_params_"] = named_functions(attributes["init_params_"])
    attributes["registry_"] = plain_registry(attributes["registry_"])
    if model.registry.get("setup_method_name") == "setup_datamodule":
        attributes |= _of_datamodule(datamodule)
        arguments = attributes["init_params_"]["non_kwargs"]
        if "datamodule" in arguments:
            arguments["datamodule"] = type(arguments["datamodule"]).__name__
    for name in [name for name in attributes if name.endswith(_HISTORY)]:
        history = attributes[name]
        if isinstance(history, Mapping):
            del attributes[name]
            attributes[f"{name.removesuffix(_HISTORY)}{_HISTORY_VALUES}"] = {
                key: plain_frame(frame, f"{name}[{key!r}]") for key, frame in history.items()
            }
    weights = model.module.state_dict()
    # scvi-tools looks for Pyro's parameters here. No model here has any; another one's may exist.
    if not pyro.get_param_store().get_state()["params"]:
        weights["pyro_param_store"] = {"params": {}, "constraints": {}}
    names = model.get_var_names(legacy_mudata_format=legacy_mudata_format)
    return {
        SAVE_KEYS.MODEL_STATE_DICT_KEY: weights,
        SAVE_KEYS.VAR_NAMES_KEY: plain_value(_as_arrays(names), "var_names"),
        SAVE_KEYS.ATTR_DICT_KEY: {k: plain_value(value, k) for k, value in attributes.items()},
        LAYOUT_KEY: LAYOUT,
    }


def _as_arrays(names: Any) -> Any:
    """Return names of genes as an array, of several modalities as one each.

    scvi-tools keeps what its datamodules have: a list, an index of pandas, an array.
    """
    if isinstance(names, Mapping):
        return {modality: _as_arrays(of_modality) for modality, of_modality in names.items()}
    return np.asarray(names, dtype=object)


def _of_datamodule(datamodule: Any) -> dict[str, Any]:
    if datamodule is None:
        raise FileError(
            "The model was set up with a datamodule, which saving needs to know.",
            remedy="model.save(dir_path, datamodule=datamodule)",
        )
    summary = {key: getattr(datamodule, key, None) for key in _DATAMODULE_KEYS}
    summary["n_sample"] = datamodule.n_samples
    fields = datamodule.registry["field_registries"]
    for kind, key in zip(("categorical", "continuous"), _COVARIATE_KEYS, strict=True):
        summary[key] = fields[f"extra_{kind}_covs"]["summary_stats"][key]
    return summary


def read_model(
    dir_path: str,
    prefix: str | None = None,
    backup_url: str | None = None,
    map_location: Any = None,
    trust: bool = False,
    lenient: bool = False,
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Return the attributes, the names of the genes and the weights of a saved model.

    With ``lenient``, a model that scvi-tools saved may be set up with data that are not counts,
    since it may have been trained on such.
    """
    path = Path(dir_path, f"{prefix or ''}{SAVE_KEYS.MODEL_FNAME}").expanduser()
    place = newest(path, path.name)
    if not place.exists():
        _check_not_legacy(dir_path, prefix)
        download(backup_url, dir_path, path.name)
        if not place.exists():
            raise FileError(
                f"There is no saved model at {path}.",
                remedy="pass the folder that `model.save(...)` wrote, and the `prefix` if one "
                "was given.",
            )
    saved = read_pickle(str(place), map_location, trust)
    _check_layout(str(path), saved)
    weights, names, attributes = (saved[part] for part in _PARTS)
    names = _as_arrays(names)
    if not trust:
        _check_attributes(str(path), attributes)
    for name in [name for name in attributes if name.endswith(_HISTORY_VALUES)]:
        values = attributes.pop(name)
        history = f"{name.removesuffix(_HISTORY_VALUES)}{_HISTORY}"
        if attributes.get(history) is None:  # else scvi-tools has trained it further
            attributes[history] = {key: frame_of(frame) for key, frame in values.items()}
    attributes["init_params_"] = functions_by_name(attributes["init_params_"])
    if lenient and LAYOUT_KEY not in saved:
        attributes["registry_"].get("setup_args", {}).setdefault("is_count_data", None)
    return attributes, names, weights


def check_readable(file: Path, path: Path) -> None:
    """Read what was just written, as ``load`` will."""
    try:
        read_pickle(str(file), "meta")
    except FileError as error:
        raise FileError(
            f"{path} would not be readable: {error.problem}",
            remedy="leave out what `save_kwargs` asks of `torch.save`.",
        ) from error


def read_saved_files(
    dir_path: str,
    load_adata: bool,
    prefix: str | None = None,
    map_location: Any = None,
    backup_url: str | None = None,
) -> tuple[dict[str, Any], Any, dict[str, Any], Any]:
    """Read a saved model safely, in place of the function of scvi-tools that unpickles it."""
    attributes, names, weights = read_model(
        dir_path, prefix, backup_url, map_location, lenient=True
    )
    adata = read_adata(dir_path, prefix, attributes, names) if load_adata else None
    return attributes, names, weights, adata


def read_adata(dir_path: str, prefix: str | None, attributes: dict[str, Any], names: Any) -> Any:
    """Return the data saved with a model, or False (which is scvi's way to say none)."""
    of_mudata = attributes["registry_"].get("setup_method_name") == "setup_mudata"
    name = SAVE_KEYS.MDATA_FNAME if of_mudata else SAVE_KEYS.ADATA_FNAME
    path = newest(
        Path(dir_path, f"{prefix or ''}{name}").expanduser(),
        f"{prefix or ''}{SAVE_KEYS.MODEL_FNAME}",
    )
    if not path.exists():
        warnings.warn(
            "Save path contains no saved anndata and no adata was passed. "
            "Model will be loaded without anndata.",
            UserWarning,
            stacklevel=scvi.settings.warnings_stacklevel,
        )
        return False
    if of_mudata:
        return mudata.read(str(path))
    return align_genes(anndata.read_h5ad(path), names)


def _check_not_legacy(dir_path: str, prefix: str | None) -> None:
    legacy = Path(dir_path, f"{prefix or ''}{SAVE_KEYS.LEGACY_MODEL_FNAME}")
    if legacy.exists():
        raise FileError(
            f"{legacy} is a model that scvi-tools before 0.15 saved, in pickles of its own.",
            remedy="if you trust whoever made it, "
            "`SCVI.convert_legacy_save(dir_path, output_dir_path, trust=True)`.",
        )


def _check_layout(path: str, saved: Any) -> None:
    """Raise :class:`FileError` unless the parts of a saved model are there."""
    if isinstance(saved, dict) and saved.get(LAYOUT_KEY, LAYOUT) != LAYOUT:
        raise FileError(
            f"{path} has layout {saved[LAYOUT_KEY]!r}; this version of LucidVI reads {LAYOUT}.",
            remedy="pip install --upgrade lucidvi",
        )
    kinds: tuple[Any, ...] = (dict, (np.ndarray, pd.Index, list, tuple, dict), dict)
    if not isinstance(saved, dict) or not all(
        isinstance(saved.get(part), kind) for part, kind in zip(_PARTS, kinds, strict=True)
    ):
        what = f"a {type(saved).__name__}"
        if isinstance(saved, dict):
            what = f"a dictionary with the keys {', '.join(map(repr, list(saved)[:5]))}"
        raise FileError(
            f"{path} is not a saved model: it holds {what}, where {', '.join(_PARTS)} belong.",
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


def _check_attributes(path: str, attributes: dict[str, Any]) -> None:
    """Raise if attributes would call, or take the place of, something else than they should."""
    expected = (*_DATAMODULE_KEYS, *_COVARIATE_KEYS)
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
