"""Mapping: a query in, latent states and labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from lucidvi.atlas._batches import model_of_query
from lucidvi.atlas._genes import EXPRESSION, INFORMATION
from lucidvi.atlas._labels import votes
from lucidvi.atlas._query import Query, read_query

if TYPE_CHECKING:
    from lucidvi.atlas._reference import Reference

#: Where latent means and standard deviations are, in ``obsm`` of references and of results.
LOC, SCALE = "X_lucidvi", "X_lucidvi_scale"
SEED = 0
LABEL, CONFIDENCE = "lucidvi_label", "lucidvi_confidence"


def map_query(
    reference: Reference, query: AnnData, batch_key: str | None, layer: str | None
) -> AnnData:
    """See :meth:`Reference.map`."""
    given = read_query(query, reference.model, batch_key, layer)
    genes = None if given.genes.all() else given.genes
    with torch.random.fork_rng(devices=[]):  # loaders and weights that are drawn
        torch.manual_seed(SEED)
        model = model_of_query(reference.model, given)
        posterior = model.refine_posterior(genes=genes)
    out = AnnData(obs=query.obs.copy(), var=query.var.copy())
    out.obsm[LOC] = posterior.loc.astype(np.float32)
    out.obsm[SCALE] = posterior.scale.astype(np.float32)
    shares = votes(
        reference.neighbours,
        reference.labels.codes,
        len(reference.labels.categories),
        out.obsm[LOC],
        out.obsm[SCALE],
    )
    out.obs[LABEL] = pd.Categorical.from_codes(
        shares.argmax(axis=1), categories=reference.labels.categories
    )
    out.obs[CONFIDENCE] = shares.max(axis=1)
    out.uns["lucidvi"] = _summary(reference, given)
    return out


def _summary(reference: Reference, given: Query) -> dict[str, object]:
    """Return which of the model's genes were there, and which batches were learned."""
    weights = reference.cells.var
    return {
        "n_genes": len(given.genes),
        "n_genes_measured": int(given.genes.sum()),
        "share_of_genes": float(given.genes.mean()),
        "share_of_expression": float(weights[EXPRESSION].to_numpy()[given.genes].sum()),
        "share_of_information": float(weights[INFORMATION].to_numpy()[given.genes].sum()),
        "new_batches": np.array(given.new_batches, dtype=object),
    }
