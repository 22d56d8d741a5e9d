"""Mapping: a query in, latent states and labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.atlas._batches import model_of_query
from lucidvi.atlas._genes import EXPRESSION, INFORMATION
from lucidvi.atlas._labels import votes
from lucidvi.atlas._query import Query, read_query, with_tables_in_memory
from lucidvi.model import RefinedPosterior

if TYPE_CHECKING:
    from lucidvi.atlas._reference import Reference

#: Where latent means and standard deviations are, in ``obsm`` of references and of results.
LOC, SCALE = "X_lucidvi", "X_lucidvi_scale"
SEED = 0
LABEL, CONFIDENCE = "lucidvi_label", "lucidvi_confidence"


def map_query(
    reference: Reference,
    query: AnnData,
    batch_key: str | None,
    layer: str | None,
    gene_key: str | None = None,
) -> AnnData:
    """See :meth:`Reference.map`."""
    query = with_tables_in_memory(query)
    given = read_query(query, reference.model, batch_key, layer, gene_key, reference.cells.var)
    genes = None if given.genes.all() else given.genes
    with torch.random.fork_rng(devices=[]):  # loaders and weights that are drawn
        torch.manual_seed(SEED)
        model = model_of_query(reference.model, given)
        posterior = _refined(model, given, genes)
        model.deregister_manager(model.adata)  # scvi-tools would hold the cells until it ends
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


def _refined(model: Any, given: Query, genes: NDArray[np.bool_] | None) -> RefinedPosterior:
    """Refine the cells part by part, of which one is in memory at a time."""
    found = []
    for part in given.parts:
        if part is model.adata:
            found.append(model.refine_posterior(genes=genes))
            continue
        manager = model.adata_manager.transfer_fields(part)
        model.register_manager(manager)
        model._register_manager_for_instance(manager)
        found.append(model.refine_posterior(part, genes=genes))
        model.deregister_manager(part)
    return RefinedPosterior.concatenate(found)


def _summary(reference: Reference, given: Query) -> dict[str, object]:
    """Return which of the model's genes were there, and which batches were learned."""
    weights = reference.cells.var
    return {
        "n_genes": len(given.genes),
        "n_genes_measured": int(given.genes.sum()),
        "share_of_genes": float(given.genes.mean()),
        "share_of_expression": float(weights[EXPRESSION].to_numpy()[given.genes].sum()),
        "share_of_information": float(weights[INFORMATION].to_numpy()[given.genes].sum()),
        "genes_matched_by": given.measured.matched_by,
        "n_genes_summed": given.measured.n_summed,
        "n_genes_ambiguous": given.measured.n_ambiguous,
        "new_batches": np.array(given.new_batches, dtype=object),
    }
