"""What the functions need of a model."""

from __future__ import annotations

from typing import Any

from anndata import AnnData

from lucidvi.errors import DataError, first_few
from lucidvi.model import Cells, capable


def model_of_counts(model: Any, *, whole: bool = False) -> Any:
    """Return a trained model whose likelihood is one of counts.

    Parameters
    ----------
    model
        A model of LucidVI or scvi-tools.
    whole
        Whether the observed values have to be whole numbers, too: those that are thinned.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If it is no model, or one without counts.
    lucidvi.errors.DataError
        If it is not trained, or was set up with values that are no counts.
    """
    model = capable(model, "counts")
    if whole and model.registry["setup_args"].get("is_count_data", True) is False:
        raise DataError(
            "`model` was set up with `is_count_data=False`: what are no counts cannot be thinned.",
            remedy="Train a model of the counts.",
        )
    return model


def cells_with_counts(model: Any, adata: AnnData | None, indices: Any | None) -> Cells:
    """Return chosen cells, each of which has to have the modality whose counts are simulated.

    Parameters
    ----------
    model
        Model that reads them.
    adata, indices
        See :meth:`lucidvi.model.Cells.of`.

    Raises
    ------
    lucidvi.errors.DataError
        If a cell lacks it, or something else is wrong with the cells.
    """
    cells = Cells.of(model, adata, indices)
    lacking = cells.names[~cells.have()]
    if not len(lacking):
        return cells
    name = next(iter(model.module.modalities))
    raise DataError(
        f"{len(lacking):,} of the {len(cells):,} cells lack {name!r}, whose counts are asked for: "
        f"{first_few(lacking)}.",
        remedy="choose cells that have it; of the model's own: "
        f'indices=model.adata.obs["lucidvi_panel_{name}"] >= 0',
    )
