"""What a model can do, so that nobody has to ask which class it is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import scvi

from lucidvi.distributions import likelihood_of
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model._scvi import SCVI

#: Models by the name that their files bear, for all who load, convert or list them.
MODELS: dict[str, type[SCVI]] = {"SCVI": SCVI}


def _has_counts(model: Any) -> bool:
    return likelihood_of(model.module).is_counts


#: What a model may have, whether it does, and what to do where it lacks it.
CAPABILITIES: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "counts": (
        _has_counts,
        "has `gene_likelihood={0.module.gene_likelihood!r}`, which is no distribution of counts",
        "train one with `gene_likelihood='nb'` on the counts.",
    ),
}


def capable(model: Any, *capabilities: str) -> Any:
    """Return a trained model of LucidVI that can do what is asked of it.

    Parameters
    ----------
    model
        A model of LucidVI; or one of scvi-tools, of which one of LucidVI is made.
    *capabilities
        Keys of :data:`CAPABILITIES`.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If it is another kind of model, or lacks a capability.
    lucidvi.errors.DataError
        If it is not trained.
    """
    if isinstance(model, (scvi.model.SCVI, scvi.model.SCANVI)):
        model = SCVI.from_scvi_model(model)
    if not any(isinstance(model, kind) for kind in MODELS.values()):
        raise ModelTypeError(
            f"`model` is a {type(model).__module__}.{type(model).__name__}.",
            remedy="pass a trained SCVI, of LucidVI or scvi-tools, or a SCANVI.",
        )
    if not model.is_trained_:
        raise DataError(
            "`model` has not been trained, so its latent states mean nothing.",
            remedy="call `model.train()`.",
        )
    for capability in capabilities:
        has, lacks, remedy = CAPABILITIES[capability]
        if not has(model):
            raise ModelTypeError(f"`model` {lacks.format(model)}.", remedy=remedy)
    return model
