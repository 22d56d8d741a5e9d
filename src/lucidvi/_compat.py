"""The only file that imports private names of scvi-tools.

What differs between scvi-tools 1.4 and 1.5 is absorbed here, so that the rest of the package
sees one interface.
"""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from scvi.data._constants import ADATA_MINIFY_TYPE
from scvi.data._utils import _get_adata_minify_type
from scvi.model._utils import _init_library_size as init_library_size
from scvi.model.base._save_load import _load_saved_files
from scvi.module._constants import MODULE_KEYS

__all__ = [
    "ADATA_MINIFY_TYPE",
    "MODULE_KEYS",
    "adata_minify_type",
    "init_library_size",
    "load_saved_files",
]


def adata_minify_type(adata: AnnData) -> str | None:
    """Return how an AnnData was minified (its counts replaced by posteriors), if it was."""
    return _get_adata_minify_type(adata)


def load_saved_files(dir_path: str, **kwargs: Any) -> tuple[dict, Any, dict, AnnData | None]:
    """Read a saved model: its attributes, variable names, weights and, if asked for, AnnData."""
    return _load_saved_files(dir_path, **kwargs)
