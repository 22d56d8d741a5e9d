"""What the functions need of a model."""

from __future__ import annotations

from typing import Any

from lucidvi.errors import DataError
from lucidvi.model import capable


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
