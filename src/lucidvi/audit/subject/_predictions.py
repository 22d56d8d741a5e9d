"""What a model predicts for cells, beside their counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from lucidvi import kernels
from lucidvi._brief import brief
from lucidvi.audit.subject._predictive import quantile_residuals
from lucidvi.audit.subject._subject import Subject, to_numpy
from lucidvi.distributions import Likelihood

#: Most cells that are predicted, and most values, of cells x genes.
N_CELLS, N_VALUES = 1000, 2**24
#: Genes whose correlations are shown.
N_CORRELATED = 50


@dataclass(frozen=True)
class Predictions:
    """Counts of cells against the model's predictions at one draw of each posterior.

    Parameters
    ----------
    gene, cell
        Names of the genes and of the cells, shape ``(n_genes,)`` and ``(n_cells,)``.
    residuals
        Randomized quantile residuals, float32, shape ``(n_cells, n_genes)``.
    mean_observed, mean_predicted, variance_observed, variance_predicted
        Mean and variance of each gene over the cells, linear, shape ``(n_genes,)``.
    zeros_observed, zeros_predicted
        Share of zeros of each gene; NaN predicted where the likelihood is not of counts.
    zeros_error
        Standard deviation of the observed share, were the prediction right.
    library_observed, library_predicted, cv_observed, cv_predicted
        Total and coefficient of variation over genes of each cell and of a replicate that the
        model drew, shape ``(n_cells,)``.
    correlated
        Positions of the genes with the highest means.
    log_observed, log_predicted
        Their ``log(1 + x)``, of cells and replicates, shape ``(n_cells, n_correlated)``.
    """

    gene: np.ndarray
    cell: np.ndarray
    residuals: np.ndarray
    mean_observed: np.ndarray
    mean_predicted: np.ndarray
    variance_observed: np.ndarray
    variance_predicted: np.ndarray
    zeros_observed: np.ndarray
    zeros_predicted: np.ndarray
    zeros_error: np.ndarray
    library_observed: np.ndarray
    library_predicted: np.ndarray
    cv_observed: np.ndarray
    cv_predicted: np.ndarray
    correlated: np.ndarray
    log_observed: np.ndarray
    log_predicted: np.ndarray

    __repr__ = brief


def predictions(subject: Subject) -> Predictions:
    """Predict the evaluated cells, as many as memory allows, of genes that all of them have."""
    rng = subject.rng(4)
    n = min(N_CELLS, max(100, N_VALUES // subject.n_genes))
    evaluated = subject.sample.evaluated
    positions = np.sort(rng.permutation(evaluated[subject.counted[evaluated]])[:n])
    common = subject.common
    counts, replicates, residuals, moments = [], [], [], []
    for _, target in subject.targets(positions):
        with torch.no_grad():
            px, x = target.measured_likelihood(target.q0.sample()), kernels.to_dense(target.x)
            if common is not None:
                px, x = px.of_features(common.to(x.device)), x[:, common.to(x.device)]
            moments.append(_moments(px))
            replicates.append(sparse.csr_matrix(px.sample().cpu().numpy()))
        counts.append(sparse.csr_matrix(x.cpu().numpy()))
        residuals.append(residuals_of(px, x, rng).astype(np.float32))
    mean, square, variance, zeros, by_chance = (
        np.sum(part, axis=0) / len(positions) for part in zip(*moments, strict=True)
    )
    observed, predicted = (
        sparse.vstack(counts, format="csr"),
        sparse.vstack(replicates, format="csr"),
    )
    mean_observed = np.ravel(observed.mean(axis=0))
    correlated = np.argsort(-mean_observed)[:N_CORRELATED]
    return Predictions(
        gene=subject.gene_names if common is None else subject.gene_names[common.numpy()],
        cell=np.asarray(subject.cells.select(positions).names),
        residuals=np.concatenate(residuals),
        mean_observed=mean_observed,
        mean_predicted=mean,
        variance_observed=_variance(observed, axis=0),
        variance_predicted=variance + square - mean**2,
        zeros_observed=1 - observed.getnnz(axis=0) / len(positions),
        zeros_predicted=zeros,
        zeros_error=np.sqrt(by_chance / len(positions)),
        library_observed=np.ravel(observed.sum(axis=1)),
        library_predicted=np.ravel(predicted.sum(axis=1)),
        cv_observed=_variation(observed),
        cv_predicted=_variation(predicted),
        correlated=correlated,
        log_observed=np.log1p(observed[:, correlated].toarray()),
        log_predicted=np.log1p(predicted[:, correlated].toarray().clip(min=0)),
    )


def residuals_of(px: Likelihood, x: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Randomized quantile residuals of values under a likelihood, of the values' shape."""
    return quantile_residuals(*px.cumulative(x), rng)


def _moments(px: Likelihood) -> tuple[np.ndarray, ...]:
    """Sum mean, squared mean, variance, chance of a zero and its variance over the cells."""
    mean, variance = px.mean, px.variance
    zeros = torch.full_like(mean, torch.nan)
    if px.is_counts:
        zeros = px.log_prob(torch.zeros_like(mean)).exp()
    return tuple(
        to_numpy(part.sum(dim=0)) for part in (mean, mean**2, variance, zeros, zeros * (1 - zeros))
    )


def _variance(counts: sparse.csr_matrix, axis: int) -> np.ndarray:
    square = np.ravel(counts.multiply(counts).mean(axis=axis))
    return square - np.ravel(counts.mean(axis=axis)) ** 2


def _variation(counts: sparse.csr_matrix) -> np.ndarray:
    """Coefficient of variation of each row."""
    mean = np.ravel(counts.mean(axis=1))
    spread = np.sqrt(_variance(counts, axis=1).clip(min=0))
    return np.divide(spread, mean, out=np.full(len(mean), np.nan), where=mean > 0)
