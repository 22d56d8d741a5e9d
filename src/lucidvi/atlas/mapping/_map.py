"""Mapping: a query in, latent states, labels and how far to believe them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

from lucidvi._progress import Progress, track
from lucidvi._random import isolated
from lucidvi.atlas._data import LOC, SCALE, ReferenceData
from lucidvi.atlas.mapping._annotate import annotate, check_can_be_annotated
from lucidvi.atlas.mapping._batches import NewBatch, model_of_query
from lucidvi.atlas.mapping._calls import calls
from lucidvi.atlas.mapping._genes import EXPRESSION, INFORMATION
from lucidvi.atlas.mapping._place import Placed, blocks, place
from lucidvi.atlas.mapping._query import Query
from lucidvi.atlas.mapping._read_joined import read_joined
from lucidvi.atlas.mapping._read_query import errors_name, nothing_is_trained, read_query
from lucidvi.atlas.mapping._request import Request
from lucidvi.checks import user_columns
from lucidvi.data import (
    are_paths,
    category_text,
    check_is_anndata,
    is_joined,
    open_cells,
    with_tables_in_memory,
)
from lucidvi.model import has_capability

#: Where in ``uns`` of a query it is said what was measured of it and what was learned.
SUMMARY = "lucidvi"
SEED = 0


def map_query(model: Any, data: ReferenceData, query: Any, request: Request) -> AnnData:
    """Map a query, see :meth:`lucidvi.atlas.Reference.map`.

    Parameters
    ----------
    model, data
        Model and cells of the reference.
    query
        The cells.
    request
        How they are to be mapped.
    """
    request.check(data.calibration)
    query = _read(model, query)
    with Progress("Mapping", total=4, slow_steps=True) as progress:
        return _mapped(model, data, query, request, progress)


def annotate_query(
    model: Any, data: ReferenceData, query: AnnData, request: Request
) -> dict[str, list[str]]:
    """Map a query and write the result into it, see :meth:`lucidvi.atlas.Reference.annotate`.

    Parameters
    ----------
    model, data, query, request
        See :func:`map_query`.
    """
    query = _read(model, query)
    check_can_be_annotated(query)
    return annotate(query, map_query(model, data, query, request))


def _read(model: Any, query: Any) -> Any:
    """Return the cells of a query, those of a file opened."""
    query = open_cells(query) if are_paths(query) else query
    if not (isinstance(query, MuData) and has_capability(model, "several modalities")):
        with errors_name():
            check_is_anndata(query, "query = ")
    return query


def _mapped(
    model: Any, data: ReferenceData, query: Any, request: Request, progress: Progress
) -> AnnData:
    with errors_name():
        table = model._read_as_mine(query, request.batch_key)
    if is_joined(table):
        cells: Query = read_joined(table, model, request)
    else:
        table = with_tables_in_memory(query)
        cells = read_query(
            table, model, request.batch_key, request.layer, request.gene_key, data.cells.var
        )
    summary = _summary(data, cells)
    progress.advance()
    cells = cells.thinned_to(data.depth * summary["share_of_expression"])
    with isolated(SEED):  # loaders and weights that are drawn
        decoding, batches = model_of_query(model, cells)
        progress.advance()
        placed = _placed(data, decoding, cells, batches, request.posterior)
        decoding.deregister_manager(decoding.adata)  # scvi-tools would hold the cells on and on
    progress.advance()
    progress.now("labels")
    # Column by column, since pandas does not take several of the other byte order at once.
    kept = {name: table.obs[name] for name in user_columns(table.obs.columns)}
    obs = pd.DataFrame(kept, index=table.obs_names)
    mapped = AnnData(obs=obs, var=table.var.copy())
    mapped.obsm[LOC], mapped.obsm[SCALE] = placed.posteriors.loc, placed.posteriors.scale
    columns = calls(data, placed, _information(data, cells), cells.group >= 0, request)
    for name, column in columns.items():
        mapped.obs[name] = column
    progress.advance()
    mapped.uns[SUMMARY] = summary | {
        "new_batches_as": np.array(
            [category_text(batch.stand_in) for batch in batches], dtype=object
        ),
        "novelty_rate": request.novelty_rate,
        "posterior": request.posterior,
    }
    return mapped


def _placed(
    data: ReferenceData, model: Any, query: Query, batches: Sequence[NewBatch], posterior: str
) -> Placed:
    """Place the cells, with one progress bar for all of them."""
    placed = Placed.empty(query.obs.index, model.module.n_latent)
    sizes = [
        n for part in query.parts for n in np.unique(query.group[part], return_counts=True)[1]
    ]
    n_blocks = sum(len(blocks(n)) for n in sizes)
    done = _blocks_placed(data, model, query, batches, posterior)
    for positions, block in track(done, "Placing cells", n_blocks):
        placed.put(positions, block)
    return placed


def _blocks_placed(
    data: ReferenceData, model: Any, query: Query, batches: Sequence[NewBatch], posterior: str
) -> Iterator[tuple[NDArray[np.integer], Placed]]:
    """Yield positions of cells, and the cells; one part of them is in memory."""
    calibration = data.calibration
    decoded = query.with_stand_ins([batch.stand_in for batch in batches])
    for positions in query.parts:
        part = decoded.read(positions)
        with nothing_is_trained():
            manager = model.adata_manager.transfer_fields(part)
        model.register_manager(manager)
        model._register_manager_for_instance(manager)
        group = query.group[positions]
        for i in np.unique(group):
            rows = np.flatnonzero(group == i)
            batch = batches[i] if i >= 0 else None
            n_pool = calibration.n_cells if batch is None and calibration is not None else None
            cells = query.cells(model, part, rows)
            for here, placed in place(cells, query.chosen, n_pool, batch, posterior):
                yield positions[rows[here]], placed
        model.deregister_manager(part)  # scvi-tools would hold the cells as long as it runs
        del part, manager, cells  # before the next one is read


def _summary(data: ReferenceData, query: Query) -> dict[str, Any]:
    """Return which of the model's genes were there, and which batches were learned."""
    weights = data.cells.var
    main = [query.setup.main.key] if query.genes.any() else []
    others = [key for key, modality in query.modalities.items() if modality.is_there]
    return {
        "modalities": np.array([*main, *others], dtype=object),
        "n_genes": len(query.genes),
        "n_genes_measured": int(query.genes.sum()),
        "share_of_genes": float(query.genes.mean()),
        "share_of_expression": float(weights[EXPRESSION].to_numpy()[query.genes].sum()),
        "share_of_information": float(_information(data, query).mean()),
        "genes_matched_by": query.measured.matched_by,
        "n_genes_summed": query.measured.n_summed,
        "n_genes_ambiguous": query.measured.n_ambiguous,
        "new_batches": np.array(query.new_batches, dtype=object),
    }


def _information(data: ReferenceData, query: Query) -> NDArray[np.floating]:
    """Return the share of what the model's features say about each cell that was measured."""
    main = query.setup.main.key
    of_genes = float(data.cells.var[INFORMATION].to_numpy()[query.genes].sum())
    shares = {key: float(one.mask.mean()) for key, one in query.modalities.items()}
    weights = data.modality_weights or {main: 1.0}
    shares[main] = of_genes
    parts = [weight * shares[key] * query.having(key) for key, weight in weights.items()]
    return np.sum(parts, axis=0)
