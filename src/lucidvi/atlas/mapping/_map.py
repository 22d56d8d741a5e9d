"""Mapping: a query in, latent states, labels and how far to believe them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi._progress import Progress, track
from lucidvi._random import isolated
from lucidvi.atlas.mapping._batches import NewBatch, model_of_query
from lucidvi.atlas.mapping._calls import calls, check_rates
from lucidvi.atlas.mapping._genes import EXPRESSION, INFORMATION
from lucidvi.atlas.mapping._place import Placed, blocks, place
from lucidvi.atlas.mapping._query import Query, check_is_adata, nothing_is_trained, read_query
from lucidvi.data import category_text, with_tables_in_memory

if TYPE_CHECKING:
    from lucidvi.atlas._reference import Reference

#: Where latent means and standard deviations are, in ``obsm`` of references and of results.
LOC, SCALE = "X_lucidvi", "X_lucidvi_scale"
SEED = 0


def map_query(
    reference: Reference,
    query: AnnData,
    batch_key: str | None,
    layer: str | None,
    gene_key: str | None,
    novelty_rate: float,
    min_confidence: float,
) -> AnnData:
    """See :meth:`Reference.map`."""
    check_rates(reference, novelty_rate, min_confidence)
    check_is_adata(query)
    with Progress("Mapping", total=4, slow_steps=True) as progress:
        return _mapped(
            reference, query, batch_key, layer, gene_key, novelty_rate, min_confidence, progress
        )


def _mapped(
    reference: Reference,
    query: AnnData,
    batch_key: str | None,
    layer: str | None,
    gene_key: str | None,
    novelty_rate: float,
    min_confidence: float,
    progress: Progress,
) -> AnnData:
    query = with_tables_in_memory(query)
    given = read_query(query, reference.model, batch_key, layer, gene_key, reference.cells.var)
    summary = _summary(reference, given)
    progress.advance()
    given = given.thinned_to(reference.depth * summary["share_of_expression"])
    with isolated(SEED):  # loaders and weights that are drawn
        model, batches = model_of_query(reference.model, given)
        progress.advance()
        placed = _placed(reference, model, given, batches)
        model.deregister_manager(model.adata)  # scvi-tools would hold the cells until it ends
    progress.advance()
    progress.now("labels")
    out = AnnData(obs=query.obs.copy(), var=query.var.copy())
    out.obsm[LOC], out.obsm[SCALE] = placed.states.loc, placed.states.scale
    found = calls(
        reference,
        placed,
        summary["share_of_information"],
        given.group >= 0,
        novelty_rate,
        min_confidence,
    )
    for name, column in found.items():
        out.obs[name] = column
    progress.advance()
    out.uns["lucidvi"] = summary | {
        "new_batches_as": np.array(
            [category_text(batch.known) for batch in batches], dtype=object
        ),
        "novelty_rate": novelty_rate,
    }
    return out


def _placed(reference: Reference, model: Any, given: Query, batches: Sequence[NewBatch]) -> Placed:
    """Place the cells, with one progress bar for all of them."""
    placed = Placed.empty(len(given.obs), model.module.n_latent)
    sizes = [
        n for cells in given.parts for n in np.unique(given.group[cells], return_counts=True)[1]
    ]
    n_blocks = sum(len(blocks(n)) for n in sizes)
    found = _blocks_placed(reference, model, given, batches)
    for cells, block in track(found, "Placing cells", n_blocks):
        placed.put(cells, block)
    return placed


def _blocks_placed(
    reference: Reference, model: Any, given: Query, batches: Sequence[NewBatch]
) -> Iterator[tuple[NDArray[np.integer], Placed]]:
    """Yield positions of cells, and the cells; one part of them is in memory."""
    calibration = reference.calibration
    genes = None if given.genes.all() else given.genes
    as_known = given.known_as([batch.known for batch in batches])
    for cells in given.parts:
        part = as_known.of(cells)
        with nothing_is_trained():
            manager = model.adata_manager.transfer_fields(part)
        model.register_manager(manager)
        model._register_manager_for_instance(manager)
        group = given.group[cells]
        for i in np.unique(group):
            rows = np.flatnonzero(group == i)
            batch = batches[i] if i >= 0 else None
            n_pool = calibration.n_cells if batch is None and calibration is not None else None
            for here, placed in place(model, part, rows, genes, n_pool, batch):
                yield cells[here], placed
        model.deregister_manager(part)  # scvi-tools would hold the cells as long as it runs
        del part, manager  # before the next one is read


def _summary(reference: Reference, given: Query) -> dict[str, Any]:
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
