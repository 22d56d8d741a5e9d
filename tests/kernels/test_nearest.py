"""The nearest points, against distances that are all computed."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lucidvi import kernels


@pytest.mark.parametrize(
    ("n_points", "n_neighbours"), [(40, 40), (1_300, 16), (1_300, 100), (33, 1)]
)
def test_nearest(n_points, n_neighbours):
    rng = np.random.default_rng(0)
    points, z = rng.normal(size=(n_points, 6)), rng.normal(size=(150, 6))
    points, z = points.astype(np.float32), z.astype(np.float32)
    found = kernels.Points(points).nearest(z, n_neighbours)
    want = cdist(z, points).argsort(axis=1)[:, :n_neighbours]
    np.testing.assert_array_equal(found, want)


def test_of_equal_points_the_first_come_first():
    points = np.repeat(np.arange(3, dtype=np.float32), 40)[:, None]
    found = kernels.Points(points).nearest(np.float32([[2.0], [0.2]]), 5)
    np.testing.assert_array_equal(found, [[80, 81, 82, 83, 84], [0, 1, 2, 3, 4]])


def test_of_equal_points_in_several_boxes_the_first_come_first():
    """Points on a grid, of which many are equally near, in boxes that were cut anywhere."""
    rng = np.random.default_rng(0)
    points = rng.integers(3, size=(2_000, 3)).astype(np.float32)
    z = rng.integers(3, size=(40, 3)).astype(np.float32)
    want = cdist(z, points).argsort(axis=1, kind="stable")[:, :200]
    np.testing.assert_array_equal(kernels.Points(points).nearest(z, 200), want)


def test_nothing_is_near_what_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        kernels.Points(np.zeros((3, 2))).nearest(np.float32([[0, np.nan]]), 1)
    assert kernels.Points(np.zeros((3, 2))).nearest(np.zeros((0, 2)), 1).shape == (0, 1)
