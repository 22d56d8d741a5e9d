"""How far paths bend is told by times that are left out."""

import numpy as np
import pytest
from tests.dynamics.conftest import circling

from lucidvi import dynamics
from lucidvi._transport import pot
from lucidvi.dynamics.paths._bending import BENDING, BENDINGS, leave_out

QUICK = {"n_members": 1, "n_steps": 5}


@pytest.fixture(scope="module")
def ot():
    return pot("`test`", "dynamics")


def left_out(ot, z, time, bending=None, relaxation=None, apart=None):
    times = np.unique(time)
    states = [z[time == t] for t in times]
    rng = np.random.default_rng(0)
    apart = np.ones(len(times) - 1, bool) if apart is None else np.array(apart)
    return leave_out(ot, times, states, np.ones(len(times)), relaxation, bending, apart, rng)


def standing(times, n=80, noise=0.5, seed=0):
    """Groups that go straight on, with noise of their own at each time."""
    rng = np.random.default_rng(seed)
    time = np.repeat(np.asarray(times, float), n)
    z = rng.normal(size=(len(time), 2)) * noise
    z[:, 0] += 2 * time
    return z, time


def test_cells_that_circle_have_paths_that_bend(ot):
    found = left_out(ot, *circling(80, [0, 1, 2, 3, 4, 5]))
    straight = left_out(ot, *circling(80, [0, 1, 2, 3, 4, 5]), bending=0.0)
    assert found.bending >= 0.75
    assert np.nansum(found.unpredicted) < 0.5 * np.nansum(straight.unpredicted)
    assert (straight.unpredicted[1:-1] < 0.5).all()  # better than the nearer sample all the same


def test_of_several_the_best_is_chosen(ot):
    z, time = circling(60, [0, 1, 2, 3.5, 5])
    found = left_out(ot, z, time)
    scores = {b: np.nansum(left_out(ot, z, time, b).unpredicted) for b in (0.0, 0.5, 1.0)}
    assert np.nansum(found.unpredicted) <= min(scores.values()) + 0.02


def test_three_times_cannot_tell(ot):
    found = left_out(ot, *circling(60, [0, 1, 2]))
    assert found.bending == BENDING
    assert np.isfinite(found.unpredicted).tolist() == [False, True, False]
    assert left_out(ot, *circling(60, [0, 1, 2]), bending=1.0).bending == 1.0


def test_what_is_predicted_at_once_is_zero(ot):
    found = left_out(ot, *standing([0, 1, 2, 3, 4], n=300))
    np.testing.assert_allclose(found.unpredicted[1:-1], 0, atol=0.1)


def test_a_field_tells_it():
    z, time = circling(40, [0, 1, 2, 3.5])
    samples = dynamics.fit_flow(z, time, **QUICK).samples
    assert samples["unpredicted"].isna().tolist() == [True, False, False, True]
    assert (samples["unpredicted"].iloc[1:-1] < 0.5).all()
    two = dynamics.fit_flow(*circling(40, [0, 1]), **QUICK).samples
    assert two["unpredicted"].isna().all()


def test_times_that_are_not_told_apart_do_not_choose(ot):
    """A second sample of a time has nothing to be predicted, and its ratio may be anything."""
    times = [0, 1, 2, 3, 3.01, 4, 5, 6]
    z, time = circling(60, times)
    apart = [True, True, True, False, True, True, True]
    found = left_out(ot, z, time, apart=apart)
    others = [np.nansum(left_out(ot, z, time, b, apart=apart).unpredicted) for b in BENDINGS]
    assert np.nansum(found.unpredicted) <= min(others) + 0.05
    assert np.isnan(found.unpredicted[3:5]).all()
    assert np.isfinite(found.unpredicted[[1, 2, 5, 6]]).all()
    nothing = left_out(ot, z, time, apart=[False] * 7)
    assert nothing.bending == BENDING
    with pytest.warns(UserWarning, match="3 and 3.01"):
        samples = dynamics.fit_flow(z, time, bending=0.5, **QUICK).samples
    assert samples["unpredicted"].abs().max() < 10
