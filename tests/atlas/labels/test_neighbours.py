"""Neighbours and votes, against distances that are all computed."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._votes import votes


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    loc = rng.normal(size=(1500, 5)).astype(np.float32)
    return loc, rng.normal(size=(50, 5)).astype(np.float32)


def test_exact(points):
    loc, z = points
    found = Neighbours(loc).find(z, 7)
    np.testing.assert_array_equal(found, cdist(z, loc).argsort(axis=1)[:, :7])
    assert Neighbours(loc[:3]).find(z, 7).shape == (50, 3)


@pytest.mark.slow
def test_by_graph(points):
    """Most of the neighbours are found, and the same ones by an index that is made again."""
    loc, z = points
    found = Neighbours(loc, exact=100).find(z, 10)
    true = cdist(z, loc).argsort(axis=1)[:, :10]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, true, strict=True)])
    assert recall > 0.95
    np.testing.assert_array_equal(Neighbours(loc, exact=100).find(z, 10), found)


def test_votes_of_a_line():
    """Two labels on either side of zero: the share of votes is the posterior's mass there."""
    x = np.linspace(-4, 4, 4001, dtype=np.float32)[:, None]
    codes = (x[:, 0] > 0).astype(int)
    loc = np.array([[-1.0], [0.0], [0.3]], np.float32)
    scale = np.array([[1e-3], [1.0], [1.0]], np.float32)
    shares = votes(Neighbours(x), codes, 2, loc, scale, n_neighbours=1, n_draws=400)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    # The normal distribution function at 0.3 is 0.6179.
    np.testing.assert_allclose(shares[:, 1], [0, 0.5, 0.6179], atol=0.01)
