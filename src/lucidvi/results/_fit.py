"""Predicted against observed counts: what the check of the fit finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from lucidvi.results._finding import Finding


@dataclass(frozen=True)
class Alternative:
    """Another likelihood with the same means, its other parameters fitted to training cells.

    Parameters
    ----------
    name
        Name of the likelihood, such as ``"zinb"``, or ``"nb by batch"`` with a dispersion for
        each batch.
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
        Number of cells that were predicted.
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
        Standard error of ``overfitting``.
    genes
        A row for each gene, under its name: mean and variance of its counts, linear
        (``mean_observed``, ``mean_predicted``, ``variance_observed``, ``variance_predicted``), the
        share of zeros (``zeros_observed``, ``zeros_predicted``), the Kolmogorov-Smirnov distance
        of its residuals from uniform and the q-value of that (``ks``, ``ks_q``), whether it is
        detected in enough cells to be judged (``expressed``), and whether it is ``misfit``.
    ks_min
        Distance from which on a gene is misfit if it is so significantly (q below 0.05).
    cells
        A row for each cell, under its name: its total counts and those of a replicate that the
        model drew (``library_observed``, ``library_predicted``), and the coefficients of
        variation over the genes of both (``cv_observed``, ``cv_predicted``).
    levels, coverage
        Nominal levels and the share of counts in the central interval of each.
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
    genes: pd.DataFrame
    ks_min: float
    cells: pd.DataFrame
    levels: np.ndarray
    coverage: np.ndarray
    correlated_genes: tuple[str, ...]
    correlation_observed: np.ndarray
    correlation_predicted: np.ndarray
    residuals: np.ndarray
    alternatives: tuple[Alternative, ...]
    elbo_train: float
    elbo_held_out: float
    explained: float
