"""Whether counts that the model draws look like those observed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lucidvi.audit.checks._collapse import SPARE
from lucidvi.audit.checks._likelihoods import (
    alternatives,
    compare_likelihoods,
    likelihood_cure,
)
from lucidvi.audit.checks._overfitting import Overfitting, overfitting
from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import Comparison, Predictions, Subject, comparison, predictions
from lucidvi.audit.subject._predictive import (
    correlations,
    coverage,
    excess_correlation,
    false_discovery,
    ks_uniform,
)
from lucidvi.distributions import candidate_of
from lucidvi.results import Criterion, Fit, judge

#: Genes count as expressed that are found in this share of the cells.
EXPRESSED_MIN = 0.05
#: A gene's distribution is off if it is significantly, and by this much of a distance.
Q_MAX, KS_MIN = 0.05, 0.1
#: Genes, by mean, whose residual correlation is looked at; bins of the residuals; levels.
N_RESIDUAL, N_BINS = 200, 20
LEVELS = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
#: Thresholds of the criteria.
MISFIT_WARN, MISFIT_FAIL = 0.1, 0.3
COVERAGE_WARN, COVERAGE_FAIL = 0.02, 0.05
ZEROS_WARN, ZEROS_FAIL = 0.02, 0.05
CORRELATION_WARN, CORRELATION_FAIL = 0.05, 0.15
OVER_WARN, OVER_FAIL = 0.2, 0.5


#: Columns of the finding's tables of genes and of cells that are taken over from predictions.
OF_GENES = (
    "mean_observed",
    "mean_predicted",
    "variance_observed",
    "variance_predicted",
    "zeros_observed",
    "zeros_predicted",
)
OF_CELLS = ("library_observed", "library_predicted", "cv_observed", "cv_predicted")
#: Where the evaluated cells were held out of training.
HELD_OUT = ("known", "new")
#: Why training cells are not compared with held-out ones.
NOT_COMPARED = {
    "unknown": "Held-out cells of the training are not known.",
    "few": "Too few cells were held out of training.",
    "new": "There are no training cells among those that were looked at.",
}


def fit(
    predicted: Predictions,
    compared: Comparison | None,
    likelihood: str,
    split: str,
    *,
    n_latent: int,
    n_used: int,
    cures: Cures | None = None,
) -> Fit:
    """Judge predictions against counts.

    Parameters
    ----------
    predicted
        Predictions of cells, of held-out ones where they are known.
    compared
        Log likelihoods under several likelihoods; None where there are no counts.
    likelihood
        Name of the model's own, ``"nb"``, ``"zinb"`` or ``"poisson"``, with ``" by batch"`` if
        each batch has a dispersion of its own.
    split
        What is known of held-out cells: ``"known"``, ``"new"``, ``"unknown"`` or ``"few"``.
    n_latent, n_used
        Latent dimensions, and those of them that are in use, which decide what to do.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.
    """
    cures = cures or Cures()
    distance, p = ks_uniform(predicted.residuals)
    q = false_discovery(p)
    expressed = predicted.zeros_observed <= 1 - EXPRESSED_MIN
    expressed = expressed if expressed.any() else ~expressed
    misfit = (q < Q_MAX) & (distance >= KS_MIN)
    misfit_genes = float(misfit[expressed].mean())
    covered = coverage(predicted.residuals[:, expressed], LEVELS)
    top = np.argsort(-predicted.mean_observed)[:N_RESIDUAL]
    correlation = excess_correlation(predicted.residuals[:, top])
    zeros = zeros_off(predicted)
    over = overfitting(compared) if compared and split == "known" else Overfitting()
    others = alternatives(compared)
    cure = likelihood_cure(others, likelihood, cures)
    if n_used < n_latent:
        room = cures.of("more_weights", n_latent=n_latent)
    else:
        room = cures.of("more_dimensions", n_latent=2 * n_latent)
    return Fit(
        criteria=(
            _residuals(misfit_genes, cure),
            _coverage(covered[LEVELS.tolist().index(0.9)], cure),
            _zeros(zeros, cure),
            _correlation(correlation, room),
            *compare_likelihoods(compared, likelihood, cures),
            _overfitting(over, split, cures.of("fewer_weights", n_latent=n_used + SPARE)),
        ),
        held_out=split in HELD_OUT,
        n_cells=len(predicted.residuals),
        misfit_genes=misfit_genes,
        coverage_90=float(covered[LEVELS.tolist().index(0.9)]),
        residual_correlation=correlation,
        zeros_off=zeros,
        overfitting=over.share,
        overfitting_error=over.error,
        genes=pd.DataFrame(
            {name: getattr(predicted, name) for name in OF_GENES}
            | {"ks": distance, "ks_q": q, "expressed": expressed, "misfit": misfit},
            index=pd.Index(predicted.gene, name="gene"),
        ),
        ks_min=KS_MIN,
        cells=pd.DataFrame(
            {name: getattr(predicted, name) for name in OF_CELLS},
            index=pd.Index(predicted.cell, name="cell"),
        ),
        levels=LEVELS,
        coverage=covered,
        correlated_genes=tuple(map(str, predicted.gene[predicted.correlated])),
        correlation_observed=correlations(predicted.log_observed),
        correlation_predicted=correlations(predicted.log_predicted),
        residuals=np.histogram(predicted.residuals[:, expressed], N_BINS, (0, 1))[0],
        alternatives=others,
        elbo_train=over.elbo_train,
        elbo_held_out=over.elbo_held_out,
        explained=over.explained,
    )


def zeros_off(predicted: Predictions) -> float:
    """Root mean square error of the predicted shares of zeros, without chance's part.

    It is 0 where chance could give all of it: within two standard errors.
    """
    off = predicted.zeros_observed - predicted.zeros_predicted
    by_chance = predicted.zeros_error**2
    mean = (off**2 - by_chance).mean()
    if np.isnan(mean):
        return float("nan")
    error = np.sqrt(2 * (by_chance**2).sum()) / len(off)
    return float(np.sqrt(mean)) if mean > 2 * error else 0.0


def _residuals(misfit: float, cure: str) -> Criterion:
    return judge(
        "residuals",
        misfit,
        f"The counts of {misfit:.1%} of the expressed genes are not distributed as predicted.",
        warn=MISFIT_WARN,
        fail=MISFIT_FAIL,
        cure=cure,
    )


def _coverage(covered: float, cure: str) -> Criterion:
    return judge(
        "coverage",
        abs(covered - 0.9),
        f"90 % predictive intervals hold {covered:.1%} of the counts.",
        warn=COVERAGE_WARN,
        fail=COVERAGE_FAIL,
        cure=cure,
    )


def _zeros(off: float, cure: str) -> Criterion:
    if np.isnan(off):
        return Criterion.skipped("zeros", "The model's values are not counts.")
    return judge(
        "zeros",
        off,
        f"Predicted and observed share of zeros differ by {off:.3f} in a typical gene.",
        warn=ZEROS_WARN,
        fail=ZEROS_FAIL,
        cure=cure,
    )


def _correlation(correlation: float, cure: str) -> Criterion:
    if np.isnan(correlation):
        return Criterion.skipped("correlation", "There are no two expressed genes.")
    return judge(
        "correlation",
        correlation,
        f"Given the latent state, two genes' counts still correlate by {correlation:.3f} in a "
        "typical pair; the latent state should explain what they share.",
        warn=CORRELATION_WARN,
        fail=CORRELATION_FAIL,
        cure=cure,
    )


def _overfitting(over: Overfitting, split: str, cure: str) -> Criterion:
    if split != "known":
        return Criterion.skipped("overfitting", NOT_COMPARED[split])
    if np.isnan(over.share):
        return Criterion.skipped("overfitting", "The latent state explains nothing in training.")
    sure = over.share > 2 * over.error
    return judge(
        "overfitting",
        over.share if sure else 0.0,
        _carried_over(over),
        warn=OVER_WARN,
        fail=OVER_FAIL,
        cure=cure,
    )


def _carried_over(over: Overfitting) -> str:
    """Say what of the explained nats carries over to held-out cells."""
    if over.share > 1:
        return (
            f"The latent state explains {over.explained:.1f} nats of a training cell's counts, "
            f"but costs {over.explained * (over.share - 1):.1f} of a held-out one's: held-out "
            "cells would be better described without it."
        )
    return (
        f"Of the {over.explained:.0f} nats that the latent state explains in a training cell, "
        f"{over.share:.0%} ± {over.error:.0%} do not carry over to held-out cells."
    )


def check(subject: Subject) -> Fit:
    """Ask whether counts that a model predicts look like the data."""
    compared = comparison(subject)
    return fit(
        predictions(subject),
        compared,
        candidate_of(subject.module),
        subject.sample.split,
        n_latent=subject.n_latent,
        n_used=subject.n_used,
        cures=subject.cures,
    )
