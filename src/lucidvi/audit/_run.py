"""One call that tells whether a model can be trusted."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import numpy as np
import scvi
from anndata import AnnData
from scvi.model.base import BaseModelClass

import lucidvi
from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._progress import Progress
from lucidvi._random import isolated
from lucidvi.audit.checks._table import CHECKS
from lucidvi.audit.report._report import Report
from lucidvi.audit.subject._sample import SPLITS, draw_sample
from lucidvi.audit.subject._subject import Subject
from lucidvi.checks import check_choice
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError, first_few
from lucidvi.results import Finding, Skipped

#: Fewest cells from which anything is concluded.
N_CELLS_MIN = 20
#: Parts that a module needs to be audited.
PARTS = ("inference", "generative", "z_encoder", "n_latent")


def run(
    model: BaseModelClass,
    adata: AnnData | None = None,
    seed: int = 0,
    *,
    batch_key: str | None = None,
    labels_key: str | None = None,
    max_cells: int = 5000,
    checks: Collection[str] | None = None,
    progress: bool = True,
) -> Report:
    """Audit a model.

    Nothing is trained and nothing changed: neither model nor data nor the state of the random
    generators.

    Parameters
    ----------
    model
        A trained model of LucidVI or of scvi-tools whose module has an encoder of ``z`` and a
        decoder to a distribution of counts: ``SCVI``, ``LinearSCVI``, ``SCANVI``.
    adata
        Cells to audit it with, by default those that it holds. The numbers are of cells that
        were held out of training where these are known: validation and test cells of the
        model's own training, or all cells if ``adata`` shares none with the model's.
    seed
        Of all that is random: the sample of cells, the draws.
    batch_key, labels_key
        Columns of ``obs`` with batches and cell types, by which to sample and to judge; by
        default those that the model was set up with, if any. Name a batch that the model was
        not told of to see whether it shows in the latent space.
    max_cells
        Most cells to look at, sampled from all batches and labels.
    checks
        Names of the checks, all by default.
    progress
        Show a progress bar.

    Returns
    -------
    The findings by name; ``print`` it for a summary.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If the model is of another kind.
    lucidvi.errors.DataError
        If the model is not trained, there are no counts or fewer than two cells, or a name of
        ``checks`` is unknown.
    lucidvi.errors.MissingKeyError
        If ``batch_key`` or ``labels_key`` is no column of ``obs``.
    """
    check_model(model)
    chosen = list(CHECKS) if checks is None else list(checks)
    for name in chosen:
        check_choice("checks", name, CHECKS)
    adata = cells_of(model, adata)
    check_cells(adata, max_cells, batch_key=batch_key, labels_key=labels_key)
    start = time.perf_counter()
    rng = np.random.default_rng((seed, 0))
    sample = draw_sample(model, adata, batch_key, labels_key, max_cells, rng)
    subject = Subject(model, adata, sample, seed, batch_key, labels_key)
    findings: dict[str, Finding] = {}
    seconds = {}
    with Progress("Auditing", len(chosen), show=progress, slow_steps=True) as steps:
        for name in chosen:
            steps.now(name)
            begin = time.perf_counter()
            with isolated(seed, model.module):
                findings[name] = checked(name, subject)
            seconds[name] = time.perf_counter() - begin
            steps.advance()
    about = describe(subject) | {"seconds": seconds, "total_seconds": time.perf_counter() - start}
    return Report(findings, about)


def checked(name: str, subject: Subject) -> Finding:
    """Return what a check makes of a model, or that there are too few cells for it."""
    check, finding = CHECKS[name]
    if (n_cells := len(subject.sample.cells)) < N_CELLS_MIN:
        reason = f"{n_cells} cells are too few to say anything: {N_CELLS_MIN} at least are needed."
        return Skipped.of(finding, reason)
    return check(subject)


def check_model(model: Any) -> None:
    """Raise if a model cannot be audited: another kind of model, or one that is not trained."""
    missing = [part for part in PARTS if not hasattr(getattr(model, "module", None), part)]
    if not isinstance(model, BaseModelClass) or missing:
        raise ModelTypeError(
            f"`model` is a {type(model).__name__}"
            + (f", whose module lacks {first_few(missing)}." if missing else "."),
            remedy="Give a SCVI, LinearSCVI or SCANVI, of LucidVI or of scvi-tools.",
        )
    if not model.is_trained:
        raise DataError(
            f"`model`, a {type(model).__name__}, is not trained: it has no history, and its "
            "numbers would be those of random weights.",
            remedy="Train it first, `model.train()`.",
        )


def cells_of(model: BaseModelClass, adata: AnnData | None) -> AnnData:
    """Return the cells to look at, registered with the model: those of a user, or its own."""
    if adata is None and model.adata is None:
        raise DataError(
            "`model` holds no cells, and `adata` is None.",
            remedy="Give the cells, `audit.run(model, adata)`.",
        )
    return model._validate_anndata(adata)


def check_cells(adata: AnnData, max_cells: int, **columns: str | None) -> None:
    """Raise if the cells cannot be audited."""
    if (n_cells := min(adata.n_obs, max_cells)) < 2:
        raise DataError(
            f"`adata` has {adata.n_obs} and `max_cells` is {max_cells}: that leaves {n_cells}.",
            remedy="Give two cells at the least, and better some hundred.",
        )
    if adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
        raise DataError(
            "`adata` is minified: its counts were replaced by latent states.",
            remedy="Give the AnnData with the counts, `audit.run(model, adata)`.",
        )
    for argument, column in columns.items():
        if column is not None and column not in adata.obs:
            raise MissingKeyError(
                f"`{argument}` is {column!r}, which is no column of `adata.obs`.",
                remedy=f"Use one of {first_few(adata.obs.columns)}.",
            )


def describe(subject: Subject) -> dict[str, Any]:
    """Return what was audited and how."""
    model, sample = subject.model, subject.sample
    return {
        "model": f"{type(model).__module__.partition('.')[0]} {type(model).__name__}",
        "gene_likelihood": str(getattr(model.module, "gene_likelihood", "")),
        "n_latent": subject.n_latent,
        "n_obs": subject.adata.n_obs,
        "n_genes": subject.n_genes,
        "n_cells": len(sample.cells),
        "n_held_out": int(sample.held_out.sum()),
        "n_batches": len(np.unique(sample.batch)),
        "n_labels": len(np.unique(sample.label)),
        "split": sample.split,
        "held_out": SPLITS[sample.split],
        "is_trained": bool(model.is_trained),
        "seed": subject.seed,
        "versions": {"lucidvi": lucidvi.__version__, "scvi-tools": scvi.__version__},
    }
