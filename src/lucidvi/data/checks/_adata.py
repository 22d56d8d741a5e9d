"""Whether what is given as cells is an AnnData at all."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from mudata import MuData

from lucidvi.data._remedies import is_on_disk, quoted
from lucidvi.data.checks._features import GENES
from lucidvi.errors import DataError, ModelTypeError


def check_is_anndata(adata: Any, call: str = "adata = ") -> None:
    """Raise ModelTypeError unless `adata` has cells and genes as an AnnData has.

    Parameters
    ----------
    adata
        An AnnData, or whatever has its tables, such as a collection of several.
    call
        What comes before it in code, such as ``"model.get_elbo("``.
    """
    if not isinstance(adata, MuData) and hasattr(adata, "obs") and hasattr(adata, "var_names"):
        return
    kind = f"{type(adata).__module__.partition('.')[0]}.{type(adata).__name__}"
    problem = f"adata is a {kind}, not an AnnData."
    if isinstance(adata, MuData):
        problem += f" It has the modalities {', '.join(map(repr, adata.mod))}."
    code = f"{call}{_code(adata)}{')' if '(' in call else ''}"
    raise ModelTypeError(problem, remedy=code, code=[code])


def _code(adata: Any) -> str:
    """Return code for an AnnData of it."""
    if isinstance(adata, MuData):
        return f"adata.mod[{quoted(_of_genes(list(adata.mod)))}].copy()"
    return "anndata.AnnData(adata)"


def _of_genes(modalities: list[str]) -> str:
    """Return the modality that the genes are probably in."""
    return next((name for name in modalities if name.lower() in GENES), modalities[0])


def check_is_no_view(adata: AnnData) -> None:
    """Raise :class:`DataError` for a view, to which a model cannot add what it registers."""
    if adata.is_view:
        raise DataError(
            "adata is a view of another AnnData, and a model adds columns to its data.",
            remedy=(code := f"adata = adata.{'to_memory' if is_on_disk(adata) else 'copy'}()"),
            code=[code],
        )
