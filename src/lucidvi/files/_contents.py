"""What ``model.pt`` holds: written of plain types only, read and checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import mudata
import numpy as np
import pyro
import scvi
from lightning import LightningDataModule
from scvi.model.base import BaseModelClass

from lucidvi._compat import SAVE_KEYS, download
from lucidvi.data import align_genes
from lucidvi.errors import FileError
from lucidvi.files._atomic import newest
from lucidvi.files._layout import (
    COVARIATE_KEYS,
    DATAMODULE_KEYS,
    LAYOUT,
    LAYOUT_KEY,
    PARTS,
    check_attributes,
    check_layout,
    check_names,
    check_registry,
    check_weights,
)
from lucidvi.files._reader import read_pickle
from lucidvi.files._values import (
    frame_of,
    functions_by_name,
    named_functions,
    plain_frame,
    plain_registry,
    plain_value,
)
from lucidvi.files._whole import check_digest, reading, whole

#: Where the digest of the data is that were saved with a model.
ADATA_DIGEST_KEY = "lucidvi_adata_sha256"
# A history, `..._history_`, is a dictionary of tables; its values are stored under this name.
_HISTORY, _HISTORY_VALUES = "history_", "history_values_"


class Contents(NamedTuple):
    """What a saved model consists of.

    Parameters
    ----------
    attributes
        Attributes by name, without those that the module has.
    names
        Names of the genes, of several modalities by modality.
    weights
        State of the module.
    adata_digest
        Digest of the data that were saved with it; None if there are none, or of scvi-tools.
    """

    attributes: dict[str, Any]
    names: Any
    weights: dict[str, Any]
    adata_digest: str | None


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
    summary = {key: getattr(datamodule, key, None) for key in DATAMODULE_KEYS}
    summary["n_sample"] = datamodule.n_samples
    fields = datamodule.registry["field_registries"]
    for kind, key in zip(("categorical", "continuous"), COVARIATE_KEYS, strict=True):
        summary[key] = fields[f"extra_{kind}_covs"]["summary_stats"][key]
    return summary


def read_model(
    dir_path: str,
    prefix: str | None = None,
    backup_url: str | None = None,
    map_location: Any = None,
    trust: bool = False,
    lenient: bool = False,
) -> Contents:
    """Return what a saved model consists of.

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
    check_layout(str(path), saved)
    with whole(path, "saved model"):
        return _checked(str(path), saved, trust, lenient)


def _checked(path: str, saved: dict[str, Any], trust: bool, lenient: bool) -> Contents:
    """Return the parts of a saved model, with its tables and functions made."""
    weights, names, attributes = (saved[part] for part in PARTS)
    names = _as_arrays(names)
    if not trust:
        check_attributes(path, attributes)
    check_weights(weights)
    check_names(names)
    check_registry(attributes["registry_"])
    for name in [name for name in attributes if name.endswith(_HISTORY_VALUES)]:
        values = attributes.pop(name)
        history = f"{name.removesuffix(_HISTORY_VALUES)}{_HISTORY}"
        if attributes.get(history) is None:  # else scvi-tools has trained it further
            attributes[history] = {key: frame_of(frame) for key, frame in values.items()}
    attributes["init_params_"] = functions_by_name(attributes["init_params_"])
    if lenient and LAYOUT_KEY not in saved:
        attributes["registry_"].get("setup_args", {}).setdefault("is_count_data", None)
    return Contents(attributes, names, weights, saved.get(ADATA_DIGEST_KEY))


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
    saved = read_model(dir_path, prefix, backup_url, map_location, lenient=True)
    return *saved[:3], read_adata(dir_path, prefix, saved) if load_adata else None


def read_adata(dir_path: str, prefix: str | None, saved: Contents) -> Any:
    """Return the data saved with a model, or False (which is scvi's way to say none)."""
    of_mudata = saved.attributes["registry_"].get("setup_method_name") == "setup_mudata"
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
    read = "mudata.read" if of_mudata else "anndata.read_h5ad"
    given = f"{read}({str(path)!r})"
    model = saved.attributes["registry_"].get("model_name", "SCVI")
    check_digest(
        path,
        saved.adata_digest,
        f"If you changed it, give it: {model}.load({str(dir_path)!r}, adata={given}).",
    )
    with reading(path, "MuData" if of_mudata else "AnnData"):
        found = mudata.read(str(path)) if of_mudata else anndata.read_h5ad(path)
    return found if of_mudata else align_genes(found, saved.names)


def _check_not_legacy(dir_path: str, prefix: str | None) -> None:
    legacy = Path(dir_path, f"{prefix or ''}{SAVE_KEYS.LEGACY_MODEL_FNAME}")
    if legacy.exists():
        raise FileError(
            f"{legacy} is a model that scvi-tools before 0.15 saved, in pickles of its own.",
            remedy="if you trust whoever made it, "
            "`SCVI.convert_legacy_save(dir_path, output_dir_path, trust=True)`.",
        )
