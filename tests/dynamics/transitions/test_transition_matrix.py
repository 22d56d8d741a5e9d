"""Steps between cells: probabilities, along the flow, whatever the axes."""

import numpy as np
import pytest
from scipy import sparse
from tests.dynamics.transitions.shapes import simulated

from lucidvi import dynamics
from lucidvi.dynamics.transitions._neighbours import Neighbours
from lucidvi.errors import DataError


@pytest.fixture(scope="module")
def three():
    return simulated("three-way", n=500)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 10, 500])
def test_rows_are_probabilities(dtype, n):
    known = simulated("three-way", n=n)
    velocity = known.velocity.astype(dtype)
    velocity[0] = np.nan
    steps = dynamics.transition_matrix(known.z.astype(dtype), velocity)
    assert sparse.issparse(steps)
    assert steps.shape == (n, n)
    assert steps.dtype == np.float64
    assert (steps.data >= 0).all()
    assert not steps.diagonal().any()
    np.testing.assert_allclose(steps.sum(axis=1), 1)


def test_the_formula():
    """Against sums over all cells, one by one."""
    rng = np.random.default_rng(0)
    z, velocity, uncertainty = rng.normal(size=(3, 25, 3))
    uncertainty = abs(uncertainty)
    steps = dynamics.transition_matrix(
        z, velocity, uncertainty=uncertainty, n_neighbors=4, drift=1.5
    ).toarray()
    distance = np.linalg.norm(z[:, None] - z, axis=-1)
    reach = np.sort(distance, axis=1)[:, 1:5].mean(axis=1)
    near = steps > 0
    for i in range(25):
        v, d = velocity[i], z[near[i]] - z[i]
        a = d @ v / np.linalg.norm(v)
        c = np.sqrt(v @ v / (v @ v + uncertainty[i] @ uncertainty[i]))
        weight = np.exp(
            -(d**2).sum(axis=1) / (2 * reach[i] * reach[near[i]])
            + 1.5 * c * a / np.sqrt((a**2).mean())
        )
        np.testing.assert_allclose(steps[i, near[i]], weight / weight.sum())


def test_a_rotation_or_another_scale_changes_nothing(three):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    steps = dynamics.transition_matrix(three.z, three.velocity)
    turned = dynamics.transition_matrix(7 + 3 * three.z @ turn, 0.01 * three.velocity @ turn)
    np.testing.assert_allclose(turned.toarray(), steps.toarray(), atol=1e-9)


def test_steps_go_along_the_flow(three):
    steps = dynamics.transition_matrix(three.z, three.velocity)
    inner = (three.time > 0.3) & (three.time < 6.7)
    later = steps.multiply(three.time > three.time[:, None]).sum(axis=1)
    assert later[inner].mean() > 0.8
    back = dynamics.transition_matrix(three.z, -three.velocity)
    assert back.multiply(three.time > three.time[:, None]).sum(axis=1)[inner].mean() < 0.2


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_without_a_velocity_steps_are_symmetric(three, value):
    """Those of a cell without a velocity, and of all without a drift: the kernel, and no more."""
    velocity = three.velocity.copy()
    velocity[:50] = value
    steps = dynamics.transition_matrix(three.z, velocity)
    plain = dynamics.transition_matrix(three.z, velocity, drift=0)
    np.testing.assert_allclose(steps[:50].toarray(), plain[:50].toarray())
    near = Neighbours.of(three.z)
    kernel = near.matrix(near.kernel).toarray()
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(plain.toarray(), kernel / kernel.sum(axis=1, keepdims=True))
    assert not np.allclose(steps[50:].toarray(), plain[50:].toarray())


def test_uncertainty_weakens_the_flow(three):
    later = []
    for size in (0.0, 1.0, 10.0, 1e6):
        uncertainty = np.full(three.z.shape, size)
        steps = dynamics.transition_matrix(three.z, three.velocity, uncertainty=uncertainty)
        later.append(steps.multiply(three.time > three.time[:, None]).sum(axis=1).mean())
    assert later == sorted(later, reverse=True)
    plain = dynamics.transition_matrix(three.z, three.velocity, drift=0)
    np.testing.assert_allclose(steps.toarray(), plain.toarray(), atol=1e-6)


@pytest.mark.parametrize("drift", [-1, np.nan, "2", True])
def test_bad_drift(three, drift):
    with pytest.raises(DataError, match="`drift` is"):
        dynamics.transition_matrix(three.z, three.velocity, drift=drift)
