"""Scores of predictions, against scipy and against cases that are known."""

import numpy as np
import pytest
from scipy import sparse, stats

from lucidvi.simulate.conditions._scores import (
    N_TOP,
    SCORES,
    Truth,
    energy_distance,
    log_expression,
)


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    effect = np.where(np.arange(300) < 120, np.resize([1.5, -1.5], 300), 0.0)
    control, target = rng.normal(3, 1, (80, 300)), rng.normal(3, 1, (50, 300)) + effect
    control[:, -1] = target[:, -1] = 0  # a gene that nobody counted
    return Truth(np.float32(control), np.float32(target))


def scores(truth, predicted):
    return {name: score(truth, predicted) for name, score in SCORES.items()}


def test_energy_distance_is_that_of_scipy():
    """On a line: scipy's is the root, of samples that are drawn with replacement."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 1)), rng.normal(1, 2, size=(45, 1))
    within = [abs(a - a.T).sum() * (1 / (len(a) * (len(a) - 1)) - len(a) ** -2.0) for a in (x, y)]
    expected = stats.energy_distance(x[:, 0], y[:, 0]) ** 2 - sum(within)
    assert energy_distance(x, y) == pytest.approx(expected)


def test_energy_distance_of_one_distribution_is_zero_on_average():
    rng = np.random.default_rng(0)
    found = [energy_distance(*rng.normal(size=(2, 20, 3))) for _ in range(200)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))


def test_statistic_is_welch(truth):
    varied = slice(0, -1)
    target, control = (x[:, varied].astype(float) for x in (truth.target, truth.control))
    expected = stats.ttest_ind(target, control, equal_var=False)
    np.testing.assert_allclose(truth.statistic[varied], expected.statistic, rtol=1e-4)
    assert truth.statistic[-1] == 0
    assert len(truth.top) == N_TOP
    assert (truth.top < 120).all()


def test_the_measured_cells_themselves(truth):
    found = scores(truth, truth.target)
    assert found["R2"] == found["R2 of top genes"] == 1
    assert found["DE genes recovered"] > 0.85  # as many genes by the mean as by Welch's t
    assert found["energy distance"] <= 0


def test_no_change_recovers_nothing(truth):
    found = scores(truth, truth.control)
    assert found["DE genes recovered"] == 0
    assert found["R2 of top genes"] < 0
    assert found["energy distance"] > 1


def test_the_wrong_direction_recovers_nothing(truth):
    change = truth.target.mean(axis=0) - truth.control.mean(axis=0)
    assert truth.recovered(truth.control - change) == 0
    assert truth.recovered(truth.control + change) > 0.85


def test_log_expression():
    counts = sparse.csr_matrix([[1, 3, 0], [0, 0, 0]])
    expected = [[np.log1p(2500), np.log1p(7500), 0], [0, 0, 0]]
    np.testing.assert_allclose(log_expression(counts).toarray(), expected, rtol=1e-6)
    np.testing.assert_allclose(log_expression(counts.toarray()).toarray(), expected, rtol=1e-6)
