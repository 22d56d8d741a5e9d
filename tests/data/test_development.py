"""Simulated cells obey the kinetics that they were drawn from."""

import numpy as np
import pytest
from scipy import sparse

from lucidvi.data import simulated_development
from lucidvi.errors import DataError

SHAPES = {"line": 1, "cycle": 1, "bifurcation": 3, "three-way": 4}


@pytest.mark.parametrize(("shape", "n_branches"), SHAPES.items())
def test_what_there_is(shape, n_branches):
    adata = simulated_development(shape, 300, 30, depth=800, n_batches=2, seed=1)
    assert adata.shape == (300, 30)
    assert adata.obs["branch"].nunique() == n_branches
    assert set(adata.obs["batch"]) == {"b0", "b1"}
    total = adata.layers["spliced"] + adata.layers["unspliced"]
    assert (total != adata.X).nnz == 0
    assert np.issubdtype(adata.X.dtype, np.integer)
    assert sparse.issparse(adata.layers["unspliced"])
    assert np.median(np.ravel(total.sum(axis=1))) == pytest.approx(800, rel=0.15)
    # Shares that sum to one change by nothing in all.
    np.testing.assert_allclose(adata.layers["change"].sum(axis=1), 0, atol=1e-10)


def test_expression_changes_as_it_says():
    """Of cells in the order of their time, the sum of changes is the difference of shares."""
    adata = simulated_development("line", 6_000, 8, depth=200_000, seed=2)
    order = np.argsort(adata.obs["time"].to_numpy())
    spliced = adata.layers["spliced"][order].toarray().astype(float)
    time, change = adata.obs["time"].to_numpy()[order], adata.layers["change"][order]
    share = spliced.mean(axis=0) / spliced.sum(axis=1).mean()
    early, late = (spliced[rows].sum(axis=0) for rows in (slice(0, 400), slice(-400, None)))
    found = late / late.sum() - early / early.sum()
    middle = slice(200, -200)
    expected = np.trapezoid(change[middle], time[middle], axis=0)
    np.testing.assert_allclose(found, expected, atol=0.1 * share.max())
    assert np.corrcoef(found, expected)[0, 1] > 0.98


def test_one_seed_one_development():
    first, again = (simulated_development(n_cells=40, n_genes=5, seed=3) for _ in range(2))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    other = simulated_development(n_cells=40, n_genes=5, seed=4)
    assert (first.X != other.X).nnz > 0


def test_what_is_refused():
    with pytest.raises(DataError, match="`shape` is 'tree'"):
        simulated_development("tree")
    with pytest.raises(DataError, match="`n_cells` is 0"):
        simulated_development(n_cells=0)
    with pytest.raises(DataError, match="`depth` is -1"):
        simulated_development(depth=-1)
