"""Plans between two samples, against closed forms; and what is no plan is refused."""

import numpy as np
import pytest

from lucidvi import _transport
from lucidvi._transport import exact_plan, pot, squared_distances, unbalanced_plan
from lucidvi.errors import DataError, MissingPackageError, TrainingError


@pytest.fixture(scope="module")
def ot():
    return pot("`test`", "dynamics")


def test_exact_plan_on_a_line_keeps_the_order(ot):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 50, 1))
    plan = exact_plan(ot, squared_distances(ot, first, second))
    np.testing.assert_array_equal(np.argsort(first[:, 0]), np.argsort((plan @ second)[:, 0]))


def test_a_plan_that_was_stopped_is_refused(ot, monkeypatch):
    rng = np.random.default_rng(0)
    cost = squared_distances(ot, *rng.normal(size=(2, 60, 3)))
    monkeypatch.setattr(_transport, "MOST_PIVOTS", 3)
    with (
        pytest.warns(UserWarning, match="numItermax"),
        pytest.raises(TrainingError, match="not found"),
    ):
        exact_plan(ot, cost)


@pytest.mark.parametrize("masses", [(1.0, 1.0), (1.0, 3.0), (5.0, 0.2)])
@pytest.mark.parametrize("cost", [0.0, 0.7, 3.0])
def test_unbalanced_plan_of_one_cell_each(ot, masses, cost):
    tau, epsilon = 0.4, 0.05
    a, b = masses
    plan, _ = unbalanced_plan(ot, np.array([[cost]]), masses, tau, epsilon)
    # The derivative of the objective by the one mass is zero there.
    log_mass = (tau * np.log(a * b) + epsilon * np.log(a * b) - cost) / (2 * tau + epsilon)
    np.testing.assert_allclose(np.log(plan[0, 0]), log_mass, rtol=1e-4, atol=1e-4)


def test_unbalanced_plan_with_a_cell_far_from_all(ot):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40, 2))
    first[0] = 1e4
    cost = squared_distances(ot, first, second)
    plan, _ = unbalanced_plan(ot, cost / np.median(cost), (1.0, 1.0), 0.3, 0.01)
    assert np.isfinite(plan).all()
    assert plan[0].sum() < 1e-3 * plan.sum()


def test_an_unbalanced_plan_that_was_stopped_is_refused(ot, monkeypatch):
    rng = np.random.default_rng(0)
    cost = squared_distances(ot, *rng.normal(size=(2, 40, 2)))
    monkeypatch.setattr(_transport, "MOST_ROUNDS", 1)
    with pytest.raises(TrainingError, match="growth=False"):
        unbalanced_plan(ot, cost / cost.mean(), (1.0, 1.0), 1.0, 0.01)


def test_a_plan_that_the_solver_ends_too_early_is_gone_on_with(ot, monkeypatch):
    rng = np.random.default_rng(0)
    cost = squared_distances(ot, rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 0.5)
    asked = cost / cost.mean(), (1.0, 1.4), 1.0, 0.01
    plan, _ = unbalanced_plan(ot, *asked)
    monkeypatch.setattr(_transport, "TOLERANCES", (10.0,))
    with pytest.raises(TrainingError, match="not found"):
        unbalanced_plan(ot, *asked)
    monkeypatch.setattr(_transport, "TOLERANCES", (10.0, 1e-9))
    again, _ = unbalanced_plan(ot, *asked)
    np.testing.assert_allclose(again, plan, rtol=0.05, atol=1e-8)


def test_states_that_are_not_finite(ot):
    states = np.zeros((5, 2))
    states[3] = np.nan
    with pytest.raises(DataError, match="1 of 5 states are not finite, 3 first"):
        squared_distances(ot, np.zeros((5, 2)), states)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(MissingPackageError, match="POT") as caught:
        pot("`fit_flow`", "dynamics")
    assert caught.value.remedy == 'pip install "lucidvi[dynamics]".'
