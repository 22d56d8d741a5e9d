"""Linear factors of cells: against a dense decomposition, and a simulation with known loadings."""

import numpy as np
import pytest
import torch

from lucidvi.kernels import as_csr
from lucidvi.train.practices._factors import LARGEST, N_PRIOR_COUNTS, factors_of

N_CELLS, N_GENES, N_FACTORS = 400, 30, 3


@pytest.fixture(scope="module")
def cells():
    """Counts of three factors with depths that differ, and their loadings."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(N_CELLS, N_FACTORS))
    scores -= scores.mean(axis=0)
    scores @= np.linalg.inv(np.linalg.cholesky(np.cov(scores.T, bias=True))).T
    loadings = rng.normal(scale=0.2, size=(N_GENES, N_FACTORS)) * np.array([3.0, 2.0, 1.3])
    rates = np.exp(rng.normal(scale=0.5, size=N_GENES))
    depth = 30 * rng.lognormal(sigma=0.4, size=N_CELLS)
    x = rng.poisson(depth[:, None] * rates * np.exp(scores @ loadings.T))
    return torch.tensor(x, dtype=torch.float32), loadings


def dense(x):
    """Log counts less their means and what is along their slope on the log library."""
    y, depth = x.double().log1p().numpy(), x.double().sum(dim=1).log().numpy()
    y -= y.mean(axis=0)
    depth -= depth.mean()
    slope = y.T @ depth
    slope /= np.linalg.norm(slope)
    return y - np.outer(y @ slope, slope)


@pytest.mark.parametrize("layout", [as_csr, torch.Tensor.clone])
def test_directions_are_those_of_a_dense_decomposition(cells, layout):
    x, _ = cells
    got = factors_of(layout(x), layout(x.log1p()), N_FACTORS).directions.double().numpy()
    y = dense(x)
    values, v = np.linalg.svd(y, full_matrices=False)[1:]
    want = v[:N_FACTORS].T * np.sqrt(N_CELLS) / values[:N_FACTORS]
    got *= np.sign((got * want).sum(axis=0))
    np.testing.assert_allclose(got, want, rtol=0.02, atol=0.02 * np.abs(want).max())
    scores = y @ got
    np.testing.assert_allclose(scores.T @ scores / N_CELLS, np.eye(N_FACTORS), atol=1e-4)


def test_loadings_are_a_newton_step_of_the_poisson_regression(cells):
    """Gradient and Hessian by automatic differentiation, gene by gene, at loadings of zero."""
    x, _ = cells
    got = factors_of(x, x.log1p(), N_FACTORS)
    scores = torch.from_numpy(dense(x) @ got.directions.double().numpy())
    x = x.double()
    library = x.sum(dim=1)
    rates = x.sum(dim=0) / library.sum()
    for gene in range(5):
        mean = library * rates[gene]

        def loss(beta, gene=gene, mean=mean):
            return (mean * (scores @ beta).exp() - x[:, gene] * (scores @ beta)).sum()

        zero = torch.zeros(N_FACTORS, dtype=torch.float64)
        gradient = torch.autograd.functional.jacobian(loss, zero)
        hessian = torch.autograd.functional.hessian(loss, zero)
        shrunk = x[:, gene].sum() / (x[:, gene].sum() + N_PRIOR_COUNTS)
        step = -torch.linalg.solve(hessian, gradient) * shrunk
        np.testing.assert_allclose(got.loadings[gene], step.clamp(-LARGEST, LARGEST), atol=1e-4)


def test_they_explain_what_the_true_ones_do(cells):
    """Subspaces of loadings agree: the smallest cosine of their principal angles."""
    x, true = cells
    got = factors_of(x, x.log1p(), N_FACTORS).loadings.double().numpy()
    got, true = (a - a.mean(axis=0) for a in (got, true))
    cosines = np.linalg.svd(np.linalg.qr(got)[0].T @ np.linalg.qr(true)[0])[1]
    assert cosines.min() > 0.95


def test_no_more_than_there_are():
    """Cells of two kinds and one depth have one factor, and an empty one says nothing."""
    x = torch.tensor([[4.0, 0, 4], [0, 4, 4]]).repeat(10, 1)
    x = torch.cat([x, torch.zeros(1, 3)])
    got = factors_of(x, x.log1p(), 10)
    assert got.directions.shape == got.loadings.shape == (3, 1)
    assert torch.isfinite(got.directions).all()
    assert got.loadings[0, 0] * got.loadings[1, 0] < 0
    assert got.loadings[2, 0].abs() < 1e-4


@pytest.mark.parametrize("x", [torch.ones(20, 4), torch.ones(1, 4), torch.zeros(3, 4)])
def test_cells_that_are_all_alike_have_none(x):
    got = factors_of(x, x.log1p(), 2)
    assert got.directions.shape == got.loadings.shape == (4, 0)
