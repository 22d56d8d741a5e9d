"""How well a latent space keeps cell types apart and batches together, beside other methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scvi.model.base import BaseModelClass

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._progress import Progress, track
from lucidvi.atlas.integration._baselines import principal_components, seeded, timed, trained_scvi
from lucidvi.atlas.integration._scored import ScoredCells, checked_embedding, scored_cells
from lucidvi.atlas.integration._scores import METRICS, Embedded, metrics_for, scib, scores, totals
from lucidvi.data import in_memory
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError, first_few
from lucidvi.results import Integration
from lucidvi.results._integration import TOTALS

#: Rows of the table that are computed here.
MODEL, PCA, SCVI_TOOLS = "model", "pca", "scvi"


def score_integration(
    model: BaseModelClass,
    labels_key: str = "cell_type",
    *,
    batch_key: str | None = None,
    against: Sequence[str] | Mapping[str, NDArray[np.floating]] = (PCA, SCVI_TOOLS),
    max_cells: int = 10_000,
    seed: int = 0,
    train_kwargs: Mapping[str, Any] | None = None,
) -> Integration:
    r"""Score a model's latent space by scib-metrics, beside other embeddings of the same cells.

    The metrics are those of Luecken et al. (2022) as scib-metrics' ``Benchmarker`` computes them
    by default:

    - bio conservation: silhouette of isolated labels, NMI and ARI of k-means clusters with the
      labels (k is the number of labels), silhouette of the labels, cLISI;
    - batch correction: BRAS (in place of the batch silhouette, which is misled by nested batch
      effects), iLISI, kBET in each label, connectivity of each label's graph of 15 neighbours,
      and the variance that batches explain, less what they do in the principal components (PCR).

    Not among them are what needs more than labels and batches: conservation of cell cycle,
    trajectories and variable genes. A group's score is the mean of its metrics, and

    .. math:: \text{total} = 0.6 \, \text{bio conservation} + 0.4 \, \text{batch correction}

    Metrics are not scaled to the range that the methods span, so that a total does not depend on
    what it is compared with. Neighbours are exact. The same seed gives the same table.

    Parameters
    ----------
    model
        A trained model of LucidVI's or scvi-tools', with counts in its AnnData. Neither it nor
        the data are changed.
    labels_key
        Column of ``model.adata.obs`` with the cell types. Cells without one are not scored.
    batch_key
        Column with the batches, by default the one of the model's setup. Without batches, only
        bio conservation is scored.
    against
        What to compare with: ``"pca"``, 50 principal components of normalized log counts of the
        same genes; ``"scvi"``, a ``scvi.model.SCVI`` of default arguments, trained by default on
        the same cells with the batches and covariates of the model's setup; keys of
        ``model.adata.obsm``; or, in place of these, a mapping of names to arrays with a row for
        each cell.
    max_cells
        Most cells to score, drawn so that each label in each batch has its share. All are
        embedded.
    seed
        Seed of the draw of cells and of the training of scVI.
    train_kwargs
        Arguments of the training of scVI, such as ``{"accelerator": "gpu"}``.

    Raises
    ------
    lucidvi.errors.MissingPackageError
        If scib-metrics is not installed: ``pip install "lucidvi[scib]"``.
    lucidvi.errors.ModelTypeError
        If the model has no latent space.
    lucidvi.errors.DataError
        If it is not trained or has no counts, there are fewer than two labels, or an embedding
        does not have a finite row for each cell.
    lucidvi.errors.MissingKeyError
        If there is no such column, or no such key of ``obsm``.

    References
    ----------
    Luecken et al., Nature Methods 19 (2022), Benchmarking atlas-level data integration in
    single-cell genomics.

    Rautenstrauch and Ohler, Nature Biotechnology (2025), Shortcomings of silhouette in
    single-cell integration benchmarking.
    """
    scib()
    adata, setup_args = _checked(model), model.registry["setup_args"]
    batch_key = batch_key or setup_args.get("batch_key")
    cells = scored_cells(adata, labels_key, batch_key, max_cells, seed)
    counts = _counts(adata, setup_args.get("layer"))
    train = {"enable_progress_bar": False, **(train_kwargs or {})}
    computed: dict[str, Callable[[], Any]] = {
        PCA: partial(principal_components, counts),
        SCVI_TOOLS: partial(trained_scvi, counts, adata.obs, setup_args, train),
    }
    todo = _embeddings(adata, against, computed)
    scored: Any = model
    embedded, seconds = {}, {}
    n_steps = 2 * (1 + len(todo))  # each is computed and scored
    with Progress("Scoring", n_steps, slow_steps=True) as steps:
        with seeded(seed):
            embedded[MODEL] = scored.get_latent_representation()
            seconds[MODEL] = getattr(model, "training_seconds_", np.nan)
            before = principal_components(counts)
            for name, compute in todo.items():
                steps.advance()
                steps.now(f"embedding by {name}")
                embedded[name], taken = timed(compute)
                seconds[name] = taken if compute is computed.get(name) else np.nan
        with seeded(seed):
            steps.advance()
            table = score_all(embedded, cells, before)
    return Integration(
        table,
        pd.Series(seconds, name="seconds"),
        labels_key,
        batch_key if cells.batches is not None else None,
        len(cells.positions),
        int(cells.labels.max()) + 1,
        1 if cells.batches is None else int(cells.batches.max()) + 1,
        cells.notes,
    )


def score_all(
    embedded: Mapping[str, NDArray],
    cells: ScoredCells,
    before: NDArray[np.float32],
) -> pd.DataFrame:
    """Return the table of scores, see :class:`lucidvi.results.Integration`.

    Parameters
    ----------
    embedded
        Coordinates of all cells of the AnnData, by name.
    cells
        Those that are scored.
    before
        Principal components of all cells.
    """
    chosen = cells.positions
    rows = {}
    for name, states in track(embedded.items(), "Scoring", len(embedded), slow_steps=True):
        states = checked_embedding(states, name, len(before))[chosen]
        one = Embedded(states, cells.labels, cells.batches, before[chosen])
        with Progress(f"Scoring {name}", len(metrics_for(one))) as progress:
            found = scores(one, done=progress.advance)
        columns = {(METRICS[metric].group, metric): value for metric, value in found.items()}
        rows[name] = columns | {(TOTALS, group): value for group, value in totals(found).items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=["group", "metric"])
    return table


def _embeddings(
    adata: AnnData,
    against: Sequence[str] | Mapping[str, NDArray[np.floating]],
    computed: Mapping[str, Callable[[], Any]],
) -> dict[str, Callable[[], Any]]:
    """Return what computes or looks up each embedding to compare with, by its name."""
    embeddings: dict[str, Callable[[], Any]] = {}
    if isinstance(against, str):
        raise DataError(f"`against` is {against!r}.", remedy=f"Give a list: [{against!r}].")
    if isinstance(against, Mapping):
        embeddings.update({name: partial(np.asarray, states) for name, states in against.items()})
    else:
        stored = {key: partial(adata.obsm.__getitem__, key) for key in adata.obsm}
        choices: dict[str, Callable[[], Any]] = {**stored, **computed}
        missing = [name for name in against if name not in choices]
        if missing:
            raise MissingKeyError(
                f"`against` names {first_few(missing)}, no key of `model.adata.obsm`.",
                remedy=f"Use {first_few(choices, limit=20)}, or a mapping of names to arrays.",
            )
        embeddings.update({name: choices[name] for name in against})
    if MODEL in embeddings:
        raise DataError(
            f"`against` has the name {MODEL!r}, which is that of the model's own row.",
            remedy="Give the embedding another name.",
        )
    for name, look_up in embeddings.items():
        if look_up is not computed.get(name):
            checked_embedding(look_up(), name, adata.n_obs)  # before anything is trained
    return embeddings


def _checked(model: Any) -> AnnData:
    """Return the model's AnnData, or raise for a model that cannot be scored."""
    if not isinstance(model, BaseModelClass) or not hasattr(model, "get_latent_representation"):
        raise ModelTypeError(
            f"`model` is a {type(model).__name__}, which has no latent space.",
            remedy="Give a trained SCVI, of LucidVI or of scvi-tools.",
        )
    minified = ADATA_MINIFY_TYPE.LATENT_POSTERIOR
    problem = (
        "has no AnnData"
        if model.adata is None
        else "is not trained"
        if not model.is_trained_
        else "takes latent states that were stored in place of counts"
        if adata_minify_type(model.adata) == minified
        else None
    )
    if problem:
        raise DataError(
            f"`model` {problem}.", remedy="Set `model.adata` to the counts, and train the model."
        )
    return model.adata


def _counts(adata: AnnData, layer: str | None) -> sparse.csr_matrix:
    """Return the counts in memory, in the one form that all packages read."""
    counts = adata.X if layer is None else adata.layers[layer]
    return sparse.csr_matrix(in_memory(counts))
