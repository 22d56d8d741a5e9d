"""The models that simulations and references are made of."""

from __future__ import annotations

from typing import Any

import scvi

from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model._scvi import SCVI


def counts_model(model: Any) -> Any:
    """Return a trained model of counts, of LucidVI's kind, or raise."""
    if isinstance(model, (scvi.model.SCVI, scvi.model.SCANVI)):
        model = SCVI.from_scvi_model(model)
    if not isinstance(model, SCVI):
        raise ModelTypeError(
            f"`model` is a {type(model).__module__}.{type(model).__name__}.",
            remedy="pass a trained SCVI, of LucidVI or scvi-tools, or a SCANVI.",
        )
    if not model.is_trained_:
        raise DataError(
            "`model` has not been trained, so its latent states mean nothing.",
            remedy="call `model.train()`.",
        )
    module: Any = model.module
    if module.gene_likelihood == "normal":
        raise ModelTypeError(
            "`model` has `gene_likelihood='normal'`, which is no distribution of counts.",
            remedy="train one with `gene_likelihood='nb'` on the counts.",
        )
    return model
