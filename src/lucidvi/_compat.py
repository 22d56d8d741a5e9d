"""The only file that imports private names of scvi-tools.

What differs between scvi-tools 1.4 and 1.5 is absorbed here, so that the rest of the package
sees one interface.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import update_wrapper
from inspect import cleandoc
from types import FunctionType
from typing import Any

import anndata
import rich.pretty  # noqa: F401  (scvi-tools before 1.5 uses it without importing it)
from anndata import AnnData
from scvi.data._constants import _ADATA_MINIFY_TYPE_UNS_KEY as MINIFY_TYPE_UNS_KEY
from scvi.data._constants import _MANAGER_UUID_KEY as MANAGER_UUID_KEY
from scvi.data._constants import ADATA_MINIFY_TYPE
from scvi.data._download import _download as download
from scvi.data._utils import _get_adata_minify_type
from scvi.data._utils import _make_column_categorical as make_column_categorical
from scvi.data._utils import _validate_adata_dataloader_input as check_adata_or_dataloader
from scvi.dataloaders._anncollection import ArrayFakerSparse
from scvi.model._utils import _init_library_size as init_library_size
from scvi.model._utils import get_max_epochs_heuristic, parse_device_args
from scvi.model.base import _archesmixin, _base_model
from scvi.model.base._constants import SAVE_KEYS
from scvi.model.base._differential import credible_intervals, estimate_delta
from scvi.module._constants import MODULE_KEYS
from scvi.train._config import merge_kwargs
from scvi.train._progress import ProgressBar as ScviProgressBar

__all__ = [
    "ADATA_MINIFY_TYPE",
    "MANAGER_UUID_KEY",
    "MINIFY_TYPE_UNS_KEY",
    "MODULE_KEYS",
    "SAVE_KEYS",
    "ArrayFakerSparse",
    "ScviProgressBar",
    "adata_minify_type",
    "check_adata_or_dataloader",
    "credible_intervals",
    "device_of",
    "download",
    "estimate_delta",
    "get_max_epochs_heuristic",
    "init_library_size",
    "make_column_categorical",
    "merge_kwargs",
    "reading_by",
    "write_adata",
]

READ_SAFELY = "Differs from scvi-tools: a saved model is read without running what its file says."


def adata_minify_type(adata: AnnData) -> str | None:
    """Return how an AnnData was minified (its counts replaced by posteriors), if it was."""
    return _get_adata_minify_type(adata)


def device_of(accelerator: str, devices: Any) -> Any:
    """Return the device of torch that arguments of a training name."""
    return parse_device_args(accelerator, devices, return_device="torch")[-1]


def write_adata(adata: Any, path: str, **kwargs: Any) -> None:
    """Write an AnnData or MuData as scvi-tools does.

    Text of a type that can be missing, which anndata from 0.13 on reads and pandas from 3 on
    makes, is written as it is; anndata 0.12 asks for a setting first.
    """
    setting = "allow_write_nullable_strings"
    is_there = hasattr(anndata.settings, setting)
    with anndata.settings.override(**{setting: True}) if is_there else nullcontext():
        _write_adata(adata, path, **kwargs)


def _write_adata(adata: Any, path: str, **kwargs: Any) -> None:
    if hasattr(_base_model, "_write_adata"):  # from 1.5 on
        _base_model._write_adata(adata, path, **kwargs)
    else:
        adata.write(path, **kwargs)


def reading_by(function: Any, reader: Callable[..., tuple]) -> Callable[..., Any]:
    """Return a function of scvi-tools that reads saved models by ``reader``.

    Parameters
    ----------
    function
        A function that reads a saved model, which scvi-tools does by unpickling it.
    reader
        Takes the place of scvi's ``_load_saved_files(dir_path, load_adata, prefix=None,
        map_location=None, backup_url=None)``, which returns attributes, names of the genes,
        weights and AnnData.

    Returns
    -------
    The function with the same code and signature. The one of scvi-tools is not changed.
    """
    called = function.__code__.co_names
    if "_load_saved_files" in called:
        replaced = {"_load_saved_files": reader}
    elif "_get_loaded_data" in called:
        replaced = {"_get_loaded_data": reading_by(_archesmixin._get_loaded_data, reader)}
    else:  # rather fail than let it unpickle
        raise NotImplementedError(f"{function.__qualname__} reads files in an unknown way.")
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **replaced},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    update_wrapper(copy, function)
    summary, _, rest = cleandoc(function.__doc__ or "").partition("\n\n")
    copy.__doc__ = f"{summary}\n\n{READ_SAFELY}\n\n{rest}"
    return copy
