"""Whether training on a query can move the query at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import scvi
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass

from lucidvi._random import isolated
from lucidvi.model._cells import Cells

FROZEN_LATENT = (
    "Training this model on the query cannot move the query's latent representation: every "
    "weight between the counts and the latent space is frozen, and the reference's encoder does "
    "not see the batch (`encode_covariates=False`). Only the decoder will adapt. To let the "
    "latent representation adapt, train the reference with `encode_covariates=True`, or call "
    "`load_query_data` with `unfrozen=True` or `freeze_expression=False`."
)


def latent_can_move(model: BaseModelClass, adata: AnnData) -> bool:
    """Return whether some weight that training may change has an effect on the latent space.

    Asked of the gradient itself, after all masks on it: that of the posterior means of a
    minibatch, projected onto a random direction so that nothing cancels.
    """
    module: Any = model.module
    cells = Cells(model, adata, np.arange(adata.n_obs))
    with isolated(), torch.enable_grad():
        _, minibatch = next(cells.minibatches(batch_size=scvi.settings.batch_size))
        minibatch = {key: values.to(module.device) for key, values in minibatch.items()}
        posterior = module.encode(module.observe(minibatch), module.covariates(minibatch))
        loc = posterior.latent.mean
        if not loc.requires_grad:
            return False
        (loc * torch.randn_like(loc)).sum().backward()
    moves = any(w.grad is not None and bool(w.grad.any()) for w in module.parameters())
    module.zero_grad(set_to_none=True)
    return moves
