"""Whether counts that the model draws look like those observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lucidvi.audit._alternatives import Comparison
from lucidvi.audit._finding import Criterion, Finding, judge
from lucidvi.audit._overfitting import Overfitting, overfitting
from lucidvi.audit._predictions import Predictions
from lucidvi.audit._predictive import (
    correlations,
    coverage,
    excess_correlation,
    false_discovery,
    ks_uniform,
)

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
GAIN_WARN, GAIN_FAIL = 0.01, 0.05
OVER_WARN, OVER_FAIL = 0.2, 0.5

CURES = {
    "likelihood": "model = SCVI(adata, gene_likelihood='nb')  # or 'zinb'\nmodel.train()",
    "nb": "model = SCVI(adata, gene_likelihood='nb')\nmodel.train()",
    "zinb": "model = SCVI(adata, gene_likelihood='zinb')\nmodel.train()",
    "by batch": "model = SCVI(adata, dispersion='gene-batch')\nmodel.train()",
    "capacity": "model = SCVI(adata, n_latent=30, n_hidden=256)\nmodel.train()",
    "overfitting": (
        "# Fewer weights, and stop where held-out cells no longer gain.\n"
        "model = SCVI(adata, n_hidden=64, n_latent=5, dropout_rate=0.2)\n"
        "model.train(early_stopping=True)"
    ),
}


@dataclass(frozen=True)
class Alternative:
    """Another likelihood with the same means, its other parameters fitted to training cells.

    Parameters
    ----------
    name
        Such as ``"zinb"`` or ``"nb, dispersion by batch"``.
    gain
        Held-out log likelihood above that of the model's own likelihood, nats a cell.
    error
        Standard error of the gain.
    """

    name: str
    gain: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Fit(Finding):
    """How predicted counts compare with observed ones, of held-out cells if there are any.

    Parameters
    ----------
    held_out
        Whether the cells were held out of training.
    n_cells
        Number of these.
    misfit_genes
        Share of the genes whose residuals are not uniform, clearly and significantly.
    coverage_90
        Share of counts in their central 90 % predictive interval.
    residual_correlation
        Typical (root mean square) correlation of two genes' residuals beyond what the number of
        cells gives by chance.
    zeros_off
        Typical (root mean square) difference between observed and predicted share of zeros of a
        gene, beyond what the number of cells gives by chance.
    overfitting
        Share of what the model explains in training cells that it does not in held-out ones; NaN
        without held-out cells.
    overfitting_error
        Its standard error.
    gene
        Names of the genes; all that follows by gene has shape ``(n_genes,)``.
    mean_observed, mean_predicted, variance_observed, variance_predicted
        Of each gene's counts, linear.
    zeros_observed, zeros_predicted
        Share of zeros.
    ks, ks_q
        Kolmogorov-Smirnov distance of each gene's residuals from uniform, and its q-value.
    ks_min
        Distance from which on a gene is misfit if it is so significantly (q below 0.05).
    expressed, misfit
        Whether each gene is found in enough cells to be judged, and whether it is misfit.
    levels, coverage
        Nominal levels and the share of counts in the central interval of each.
    library_observed, library_predicted
        Total counts of each cell and of a replicate, shape ``(n_cells,)``.
    cv_observed, cv_predicted
        Coefficient of variation over the genes of each cell and of a replicate.
    correlated_genes
        Names of the genes with the highest means, at most 50.
    correlation_observed, correlation_predicted
        Correlations of the log counts of these, of cells and of replicates, square.
    residuals
        Counts of randomized quantile residuals in 20 equal bins of [0, 1].
    alternatives
        Other likelihoods, by held-out gain.
    elbo_train, elbo_held_out
        Mean ELBO of training and of held-out cells, nats a cell; NaN where not known.
    explained
        Mean ELBO of training cells above that of a model without latent state, nats a cell.
    """

    name: ClassVar[str] = "fit"
    title: ClassVar[str] = "Do counts drawn from the model look like the data?"
    explanation: ClassVar[str] = (
        "For each cell a latent state is drawn from its posterior, and the model's predicted "
        "distribution of each count is compared with the count. If model and posterior are "
        "right, the position of the count within its prediction (the randomized quantile "
        "residual) is uniform and independent between genes, for one draw exactly; averaging "
        "over draws would hide misfit, since the state was inferred from the same counts. "
        "Predicted means, variances and zeros show where a misfit is; other likelihoods, fitted "
        "to the same means and compared on held-out cells, show what would fit better; training "
        "against held-out cells shows over-fitting."
    )
    reference: ClassVar[str] = (
        "Dunn and Smyth, J. Comput. Graph. Stat. 5 (1996), Randomized quantile residuals. "
        "Johnson, Annals of Statistics 32 (2004), A Bayesian chi-squared test for goodness of "
        "fit. Gelman et al., Statistica Sinica 6 (1996), Posterior predictive assessment."
    )

    held_out: bool
    n_cells: int
    misfit_genes: float
    coverage_90: float
    residual_correlation: float
    zeros_off: float
    overfitting: float
    overfitting_error: float
    gene: tuple[str, ...]
    mean_observed: np.ndarray
    mean_predicted: np.ndarray
    variance_observed: np.ndarray
    variance_predicted: np.ndarray
    zeros_observed: np.ndarray
    zeros_predicted: np.ndarray
    ks: np.ndarray
    ks_q: np.ndarray
    ks_min: float
    expressed: np.ndarray
    misfit: np.ndarray
    levels: np.ndarray
    coverage: np.ndarray
    library_observed: np.ndarray
    library_predicted: np.ndarray
    cv_observed: np.ndarray
    cv_predicted: np.ndarray
    correlated_genes: tuple[str, ...]
    correlation_observed: np.ndarray
    correlation_predicted: np.ndarray
    residuals: np.ndarray
    alternatives: tuple[Alternative, ...]
    elbo_train: float
    elbo_held_out: float
    explained: float


def fit(predicted: Predictions, compared: Comparison | None, likelihood: str, split: str) -> Fit:
    """Judge predictions against counts.

    Parameters
    ----------
    predicted
        Of cells, held-out ones where they are known.
    compared
        Log likelihoods under several likelihoods; None where there are no counts.
    likelihood
        Name of the model's own, ``"nb"``, ``"zinb"`` or ``"poisson"``.
    split
        What is known of held-out cells: ``"known"``, ``"new"`` or ``"unknown"``.
    """
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
    alternatives = _alternatives(compared)
    return Fit(
        criteria=(
            _residuals(misfit_genes),
            _coverage(covered[LEVELS.tolist().index(0.9)]),
            _zeros(zeros),
            _correlation(correlation),
            *_likelihood(compared, likelihood),
            _overfitting(over, split),
        ),
        held_out=split != "unknown",
        n_cells=len(predicted.residuals),
        misfit_genes=misfit_genes,
        coverage_90=float(covered[LEVELS.tolist().index(0.9)]),
        residual_correlation=correlation,
        zeros_off=zeros,
        overfitting=over.share,
        overfitting_error=over.error,
        gene=tuple(map(str, predicted.gene)),
        mean_observed=predicted.mean_observed,
        mean_predicted=predicted.mean_predicted,
        variance_observed=predicted.variance_observed,
        variance_predicted=predicted.variance_predicted,
        zeros_observed=predicted.zeros_observed,
        zeros_predicted=predicted.zeros_predicted,
        ks=distance,
        ks_q=q,
        ks_min=KS_MIN,
        expressed=expressed,
        misfit=misfit,
        levels=LEVELS,
        coverage=covered,
        library_observed=predicted.library_observed,
        library_predicted=predicted.library_predicted,
        cv_observed=predicted.cv_observed,
        cv_predicted=predicted.cv_predicted,
        correlated_genes=tuple(map(str, predicted.gene[predicted.correlated])),
        correlation_observed=correlations(predicted.log_observed),
        correlation_predicted=correlations(predicted.log_predicted),
        residuals=np.histogram(predicted.residuals[:, expressed], N_BINS, (0, 1))[0],
        alternatives=alternatives,
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


def gain(compared: Comparison, better: str, than: str) -> tuple[float, float]:
    """Mean of the log likelihood gained, nats a cell, and its standard error."""
    difference = compared.evaluated[better] - compared.evaluated[than]
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def _alternatives(compared: Comparison | None) -> tuple[Alternative, ...]:
    if compared is None:
        return ()
    names = [name for name in compared.evaluated if name != "own"]
    found = [Alternative(name, *gain(compared, name, "own")) for name in names]
    return tuple(sorted(found, key=lambda alternative: -alternative.gain))


def _residuals(misfit: float) -> Criterion:
    return judge(
        "residuals",
        misfit,
        f"The counts of {misfit:.1%} of the expressed genes are not distributed as predicted.",
        warn=MISFIT_WARN,
        fail=MISFIT_FAIL,
        cure=CURES["likelihood"],
    )


def _coverage(covered: float) -> Criterion:
    return judge(
        "coverage",
        abs(covered - 0.9),
        f"90 % predictive intervals hold {covered:.1%} of the counts.",
        warn=COVERAGE_WARN,
        fail=COVERAGE_FAIL,
        cure=CURES["likelihood"],
    )


def _zeros(off: float) -> Criterion:
    if np.isnan(off):
        return Criterion.skipped("zeros", "The model's values are not counts.")
    return judge(
        "zeros",
        off,
        f"Predicted and observed share of zeros differ by {off:.3f} in a typical gene.",
        warn=ZEROS_WARN,
        fail=ZEROS_FAIL,
        cure=CURES["likelihood"],
    )


def _correlation(correlation: float) -> Criterion:
    return judge(
        "correlation",
        correlation,
        f"Given the latent state, two genes' counts still correlate by {correlation:.3f} in a "
        "typical pair; the latent state should explain what they share.",
        warn=CORRELATION_WARN,
        fail=CORRELATION_FAIL,
        cure=CURES["capacity"],
    )


def _likelihood(compared: Comparison | None, likelihood: str) -> list[Criterion]:
    """Ask which other likelihood is needed."""
    if compared is None or likelihood not in QUESTIONS:
        reason = "There is no other likelihood to compare with."
        return [Criterion.skipped("likelihood", reason)]
    asked = [q for q in QUESTIONS[likelihood] if q.better in compared.evaluated]
    return [_asked(compared, question) for question in asked]


@dataclass(frozen=True)
class Question:
    """Whether one likelihood is needed in place of another."""

    name: str
    better: str
    than: str
    what: str
    cure: str


def _asked(compared: Comparison, question: Question) -> Criterion:
    gained, error = gain(compared, question.better, question.than)
    # What the likelihood could gain, in proportion to what the counts hold besides.
    share = gained / float(-compared.evaluated[question.than].mean())
    return judge(
        question.name,
        share if gained > 2 * error else min(share, 0.0),
        f"{question.what} would gain {gained:.1f} ± {error:.1f} nats a held-out cell "
        f"({share:.1%} of what its counts cost).",
        warn=GAIN_WARN,
        fail=GAIN_FAIL,
        cure=CURES[question.cure],
    )


#: What is asked of a likelihood.
QUESTIONS: dict[str, tuple[Question, ...]] = {
    "poisson": (Question("dispersion", "nb", "poisson", "Over-dispersion", "nb"),),
    "nb": (
        Question("zero_inflation", "zinb", "nb", "Zero inflation", "zinb"),
        Question("dispersion", "nb by batch", "nb", "A dispersion for each batch", "by batch"),
    ),
    "zinb": (
        Question("dispersion", "nb by batch", "nb", "A dispersion for each batch", "by batch"),
    ),
}


def _overfitting(over: Overfitting, split: str) -> Criterion:
    if split != "known":
        return Criterion.skipped("overfitting", "Held-out cells of the training are not known.")
    if np.isnan(over.share):
        return Criterion.skipped("overfitting", "The latent state explains nothing in training.")
    sure = over.share > 2 * over.error
    return judge(
        "overfitting",
        over.share if sure else 0.0,
        f"Of the {over.explained:.0f} nats that the latent state explains in a training cell, "
        f"{over.share:.0%} ± {over.error:.0%} do not carry over to held-out cells.",
        warn=OVER_WARN,
        fail=OVER_FAIL,
        cure=CURES["overfitting"],
    )
