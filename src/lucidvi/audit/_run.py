"""One call that tells whether a model can be trusted."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import scvi
from anndata import AnnData
from scvi.model.base import BaseModelClass

import lucidvi
from lucidvi._progress import Progress
from lucidvi._random import isolated
from lucidvi.audit.checks import CHECKS, asked_of
from lucidvi.audit.report import Report
from lucidvi.audit.subject import (
    N_CELLS_MIN,
    SPLITS,
    Subject,
    audited_cells,
    check_model,
    draw_sample,
)
from lucidvi.checks import check_choice
from lucidvi.results import Finding, Skipped


def run(
    model: BaseModelClass,
    adata: AnnData | None = None,
    *,
    batch_key: str | None = None,
    labels_key: str | None = None,
    max_cells: int = 5000,
    checks: Collection[str] | None = None,
    seed: int = 0,
) -> Report:
    """Audit a model.

    Nothing is trained and nothing changed: neither model nor data nor the state of the random
    generators.

    Parameters
    ----------
    model
        A trained model of LucidVI, or one of scvi-tools whose module has an encoder of ``z`` and a
        decoder to a distribution of counts.
    adata
        Cells to audit it with, by default those that it holds. The numbers are of cells that
        were held out of training where these are known: validation and test cells of the
        model's own training, or all cells if ``adata`` shares none with the model's.
    batch_key, labels_key
        Columns of ``obs`` with batches and cell types, by which to sample and to judge; by
        default those that the model was set up with, if any. Name a batch that the model was
        not told of to see whether it shows in the latent space.
    max_cells
        Most cells to look at, sampled from all batches and labels.
    checks
        Names of the checks, keys of :data:`lucidvi.audit.checks.CHECKS`; by default all that
        apply to a model of as many modalities.
    seed
        Seed of all that is random: the sample of cells, the draws.

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
    for name in checks or ():
        check_choice("checks", name, CHECKS)
    adata = audited_cells(model, adata, max_cells, batch_key=batch_key, labels_key=labels_key)
    start = time.perf_counter()
    rng = np.random.default_rng((seed, 0))
    sample = draw_sample(model, adata, batch_key, labels_key, max_cells, rng)
    subject = Subject(model, adata, sample, seed, batch_key, labels_key)
    names = asked_of(model) if checks is None else list(checks)
    findings: dict[str, Finding] = {}
    seconds = {}
    with Progress("Auditing", len(names), slow_steps=True) as steps:
        for name in names:
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
    check = CHECKS[name]
    if (n_cells := len(subject.cells)) < N_CELLS_MIN:
        reason = f"{n_cells} cells are too few to say anything: {N_CELLS_MIN} at least are needed."
        return Skipped.of(check.finding, reason)
    return replace(check.answer(subject), modality=subject.modality.key)


def describe(subject: Subject) -> dict[str, Any]:
    """Return what was audited and how."""
    model, sample = subject.model, subject.sample
    return {
        "model": f"{type(model).__module__.partition('.')[0]} {type(model).__name__}",
        "gene_likelihood": ", ".join(m.likelihood.family for m in subject.modalities.values()),
        "modalities": ", ".join(subject.modalities),
        "n_latent": subject.n_latent,
        "n_obs": subject.adata.n_obs,
        "n_genes": subject.n_genes,
        "n_cells": len(subject.cells),
        "n_held_out": int(sample.held_out.sum()),
        "n_batches": len(np.unique(sample.batch)),
        "n_labels": len(np.unique(sample.label)),
        "split": sample.split,
        "held_out": SPLITS[sample.split],
        "is_trained": bool(model.is_trained),
        "seed": subject.seed,
        "versions": {"lucidvi": lucidvi.__version__, "scvi-tools": scvi.__version__},
    }
