"""What is known of a flow, how sure that is, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from lucidvi import dynamics
from lucidvi.dynamics.transitions._flow import Flow
from lucidvi.errors import DataError

Z = np.random.default_rng(0).normal(size=(12, 3))
V = np.random.default_rng(1).normal(size=(12, 3))


def changed(values, place, value):
    values = values.copy()
    values[place] = value
    return values


def test_confidence_is_the_cosine_with_the_truth():
    """In many dimensions, with noise as large as said."""
    rng = np.random.default_rng(0)
    truth = np.zeros((4_000, 40))
    truth[:, 0] = 1.0
    noise = np.full(truth.shape, 1.5 / np.sqrt(40))
    observed = truth + noise * rng.normal(size=truth.shape)
    confidence = Flow.of(rng.normal(size=truth.shape), truth, noise).confidence
    cosine = observed[:, 0] / np.linalg.norm(observed, axis=1)
    np.testing.assert_allclose(confidence.mean(), cosine.mean(), atol=0.01)


def test_what_is_not_known_has_no_velocity_and_no_confidence():
    velocity = changed(changed(V, (3, 1), np.nan), 5, 0.0)
    flow = Flow.of(Z.astype(np.float32), velocity, changed(np.ones((12, 3)), 3, np.nan))
    assert flow.z.dtype == flow.velocity.dtype == np.float64
    assert not flow.velocity[[3, 5]].any()
    assert not flow.confidence[[3, 5]].any()
    assert 0 < np.delete(flow.confidence, [3, 5]).min() < flow.confidence.max() < 1
    np.testing.assert_array_equal(Flow.of(Z, V).confidence, 1)


def test_names_are_those_of_a_table():
    names = [f"cell{i}" for i in range(12)]
    flow = Flow.of(pd.DataFrame(Z, names), V)
    assert flow.names.tolist() == names
    labels = pd.Series(range(12), index=names[::-1])
    assert flow.names_with("terminal", np.arange(12)).tolist() == names
    assert Flow.of(Z, V).names_with("terminal", labels).tolist() == names[::-1]
    with pytest.raises(DataError, match="`terminal` has other names of cells than `z`"):
        flow.names_with("terminal", labels)


@pytest.mark.parametrize(
    "ask",
    [
        lambda z, v, **more: dynamics.transition_matrix(z, v, **more),
        lambda z, v, **more: dynamics.latent_time(z, v, **more),
        lambda z, v, **more: dynamics.fate_probabilities(z, v, {"a": [0], "b": [1]}, **more),
    ],
    ids=["transition_matrix", "latent_time", "fate_probabilities"],
)
@pytest.mark.parametrize(
    ("z", "velocity", "more", "problem"),
    [
        (Z[:, 0], V, {}, r"`z` has the shape \(12,\)"),
        (Z[:2], V[:2], {}, "`z` has 2 cells"),
        (changed(Z, (4, 1), np.nan), V, {}, "`z` is not finite in 1 of 12 cells, 4 first"),
        (np.ones((12, 3)), V, {}, "`z` is the same in all 12 cells"),
        (AnnData(Z), V, {}, "`z` is a AnnData, which is no array"),
        (Z, csr_matrix(V), {}, "`velocity` is a csr_matrix"),
        (Z, V[:, :2], {}, r"`velocity` has the shape \(12, 2\), and `z` \(12, 3\)"),
        (Z, changed(V, 2, np.inf), {}, "`velocity` is not finite in 1 of 12 cells, 2 first"),
        (Z, V * np.nan, {}, "not known, or zero, in all cells"),
        (Z, V * 0, {}, "not known, or zero, in all cells"),
        (Z, V, {"uncertainty": -(V**2)}, "`uncertainty` is negative or not finite in 12 of 12"),
        (Z, V, {"uncertainty": V[0]}, "`uncertainty` has the shape"),
        (Z, V, {"n_neighbors": 0}, "`n_neighbors` is 0"),
    ],
)
def test_bad_arrays(ask, z, velocity, more, problem):
    with pytest.raises(DataError, match=problem) as caught:
        ask(z, velocity, **more)
    assert caught.value.remedy
