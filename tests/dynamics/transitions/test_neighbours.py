"""Neighbours: the nearest, both ways, and sums over them."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lucidvi.dynamics.transitions._neighbours import AT_ONCE, Neighbours

Z = np.random.default_rng(0).normal(size=(80, 4))
V = np.random.default_rng(1).normal(size=(80, 4))


def test_pairs_are_the_nearest_of_either():
    near = Neighbours.of(Z, 7)
    distance = cdist(Z, Z)
    rank = distance.argsort(axis=1).argsort(axis=1)
    nearest = (rank > 0) & (rank <= 7)
    expected = np.argwhere(nearest | nearest.T)
    np.testing.assert_array_equal(np.column_stack([near.first, near.second]), expected)
    np.testing.assert_allclose(near.distance, distance[near.first, near.second])
    reach = np.sort(distance, axis=1)[:, 1:8].mean(axis=1)
    width = reach[near.first] * reach[near.second]
    np.testing.assert_allclose(near.kernel, np.exp(-(near.distance**2) / 2 / width))


def test_products_of_pairs(monkeypatch):
    near = Neighbours.of(Z, 5)
    expected = ((Z[near.second] - Z[near.first]) * V[near.first]).sum(axis=1)
    np.testing.assert_allclose(near.ahead(V), expected, atol=1e-12)
    whole = near.products(Z, V)
    assert len(whole) < AT_ONCE
    monkeypatch.setattr("lucidvi.dynamics.transitions._neighbours.AT_ONCE", 17)
    np.testing.assert_allclose(near.products(Z, V), whole)
    sums = near.matrix(whole).sum(axis=1)
    np.testing.assert_allclose(near.sums(whole), sums)


@pytest.mark.parametrize(("n_cells", "expected"), [(3, 2), (10, 5), (40, 8), (400, 30)])
def test_few_cells_have_fewer_neighbours(n_cells, expected):
    z = np.random.default_rng(0).normal(size=(n_cells, 2))
    near = Neighbours.of(z)
    counts = near.sums(np.ones(len(near.first)))
    assert counts.min() == expected


def test_parts():
    near = Neighbours.of(np.concatenate([Z, Z[:30] + 100]), 5)
    assert len(np.unique(near.part[:80])) == len(np.unique(near.part[80:])) == 1
    assert near.part[0] != near.part[80]


def test_cells_on_each_other_and_far_away():
    z = np.concatenate([np.zeros((20, 2)), [[1e6, 0.0]], 1e6 + Z[:, :2]])
    near = Neighbours.of(z, 6)
    assert np.isfinite(near.kernel).all()
    assert (near.kernel[(near.first < 20) & (near.second < 20)] == 1).all()
