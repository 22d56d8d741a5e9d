"""Whether a model and its cells can be audited at all."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from scvi.model.base import BaseModelClass

from lucidvi.errors import DataError, MissingKeyError, ModelTypeError, first_few
from lucidvi.model import MODELS, Cells

#: Fewest cells from which anything is concluded.
N_CELLS_MIN = 20
#: Parts that a module of scvi-tools needs to be audited; others keep the contract
#: :class:`lucidvi.module.Generative`.
PARTS = ("inference", "generative", "z_encoder", "n_latent")


def check_model(model: Any) -> None:
    """Raise if a model cannot be audited: another kind of model, or one that is not trained."""
    module = getattr(model, "module", None)
    missing = [part for part in PARTS if not hasattr(module, part)]
    if hasattr(module, "modalities"):
        missing = []
    if not isinstance(model, BaseModelClass) or missing:
        raise ModelTypeError(
            f"`model` is a {type(model).__name__}"
            + (f", whose module lacks {first_few(missing)}." if missing else "."),
            remedy=f"Give a {' or '.join(MODELS)} of LucidVI, or a model of scvi-tools that "
            "encodes counts and decodes them.",
        )
    if not model.is_trained:
        raise DataError(
            f"`model`, a {type(model).__name__}, is not trained: it has no history, and its "
            "numbers would be those of random weights.",
            remedy="Train it first, `model.train()`.",
        )


def audited_cells(
    model: BaseModelClass, adata: AnnData | None, max_cells: int, **columns: str | None
) -> AnnData:
    """Return the cells to look at, registered with the model: those of a user, or its own.

    Parameters
    ----------
    model
        A model that can be audited.
    adata
        Cells of a user.
    max_cells
        Most cells that are looked at.
    **columns
        Columns of ``obs`` by the argument that names them; None where it names none.

    Raises
    ------
    lucidvi.errors.DataError
        If there are no counts, or fewer than two cells.
    lucidvi.errors.MissingKeyError
        If a column does not exist.
    """
    if adata is None and model.adata is None:
        raise DataError(
            "`model` holds no cells, and `adata` is None.",
            remedy="Give the cells, `audit.run(model, adata)`.",
        )
    adata = Cells.of(model, adata).adata
    if (n_cells := min(adata.n_obs, max_cells)) < 2:
        raise DataError(
            f"`adata` has {adata.n_obs} and `max_cells` is {max_cells}: that leaves {n_cells}.",
            remedy="Give two cells at the least, and better some hundred.",
        )
    for argument, column in columns.items():
        if column is not None and column not in adata.obs:
            raise MissingKeyError(
                f"`{argument}` is {column!r}, which is no column of `adata.obs`.",
                remedy=f"Use one of {first_few(adata.obs.columns)}.",
            )
    return adata
