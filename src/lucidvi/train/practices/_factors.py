"""Factors of some cells: a linear encoder and a log-linear decoder, without gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lucidvi.kernels import as_csr

#: Directions more than factors, and power iterations, of the randomized decomposition.
N_EXTRA, N_ITERATIONS = 5, 2
#: Singular values below this share of the largest are those of noise in the numbers.
SMALLEST = 1e-4
#: Counts of no effect that are added to a gene's, and largest change of log expression by one
#: standard deviation of a factor: one step from no factors overshoots where effects are large.
N_PRIOR_COUNTS, LARGEST = 10.0, 0.5

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Factors:
    r"""Factors of cells.

    Parameters
    ----------
    directions
        :math:`w_k` with which the scores of cells are :math:`a_{ck} = w_k^\top y_c` but for a
        constant, of variance one, shape ``(n_genes, n_factors)``.
    loadings
        :math:`\beta_{gk}`, change of log expression with :math:`a_{ck}`, same shape.
    """

    directions: Tensor
    loadings: Tensor


def factors_of(x: Tensor, shown: Tensor, n_factors: int) -> Factors:
    r"""Find the factors along which cells vary most, apart from their depth.

    Directions are the first right singular vectors of what the encoder sees, :math:`y`, less its
    mean and what is along its slope on the log library. Scores are then regressed
    on: the loadings are one Newton step, from zero, of the Poisson regression

    .. math::
        x_{cg} \sim \mathrm{Poisson}(\ell_c \, r_g \exp(a_c^\top \beta_g))

    with the mean rates :math:`r_g`, shrunk as by ten counts without an effect, and
    at most 0.5.

    Parameters
    ----------
    x
        Counts, CSR or dense, shape ``(n_cells, n_genes)``.
    shown
        What the encoder sees of them, same shape.
    n_factors
        Number of factors; fewer are returned if the cells have no more.

    References
    ----------
    Halko et al., SIAM Review 53 (2011), Finding structure with randomness, algorithm 4.4.
    """
    counts = _scipy(x)
    library = np.asarray(counts.sum(axis=1)).ravel()
    has_counts = library > 0
    if has_counts.sum() < 2:
        return Factors(*torch.zeros(2, x.shape[1], 0))
    counts, y, library = counts[has_counts], _scipy(shown)[has_counts], library[has_counts]
    directions, scores = _principal(y, library, n_factors)
    loadings = _loadings(counts, library, scores)
    return Factors(*(torch.from_numpy(a.astype(np.float32)) for a in (directions, loadings)))


def _scipy(x: Tensor) -> sparse.csr_matrix:
    x = as_csr(x).cpu()
    parts = x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy()
    return sparse.csr_matrix(parts, shape=tuple(x.shape))


def _principal(y: sparse.csr_matrix, library: Array, n_factors: int) -> tuple[Array, Array]:
    """Directions, ``(n_genes, n_factors)``, and scores of variance one, ``(n_cells, n_factors)``.

    The matrix of which they are, dense, is never made.
    """
    n_cells, n_genes = y.shape
    mean = np.asarray(y.mean(axis=0)).ravel()
    depth = np.log(library)
    depth = depth - depth.mean()
    slope = y.T @ depth
    slope = slope / max(float(np.linalg.norm(slope)), 1e-12)

    def without_slope(v: Array) -> Array:
        return v - np.outer(slope, slope @ v)

    def times(v: Array) -> Array:
        v = without_slope(v)
        return cast(Array, y @ v - mean @ v)

    def transposed_times(u: Array) -> Array:
        return without_slope(y.T @ u - np.outer(mean, u.sum(axis=0)))

    size = min(n_factors + N_EXTRA, n_cells, n_genes)
    basis = np.random.default_rng(0).normal(size=(n_genes, size))
    for _ in range(N_ITERATIONS):
        basis = np.linalg.qr(times(basis))[0]
        basis = np.linalg.qr(transposed_times(basis))[0]
    u, values, v = np.linalg.svd(times(basis), full_matrices=False)
    n = min(n_factors, int((values > SMALLEST * max(values[0], 1e-6)).sum()))
    deviations = values[:n] / np.sqrt(n_cells)
    return without_slope(basis @ v[:n].T) / deviations, u[:, :n] * np.sqrt(n_cells)


def _loadings(counts: sparse.csr_matrix, library: Array, scores: Array) -> Array:
    """One Newton step of a Poisson regression of counts on scores, ``(n_genes, n_factors)``."""
    exposed = library[:, None] * scores
    of_genes = np.asarray(counts.sum(axis=0)).ravel()
    gradient = counts.T @ scores - np.outer(of_genes / library.sum(), exposed.sum(axis=0))
    curvature = exposed.T @ scores / library.sum()
    step = np.linalg.solve(curvature, gradient.T).T / (of_genes + N_PRIOR_COUNTS)[:, None]
    return cast(Array, np.clip(step, -LARGEST, LARGEST))
