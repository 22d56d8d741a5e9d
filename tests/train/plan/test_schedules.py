"""A schedule is a share of the training, whatever the number of cells."""

import numpy as np
import pytest

from lucidvi.train import LR_SCHEDULES, linear_warmup
from lucidvi.train.plan._schedules import cosine, one_cycle


@pytest.mark.parametrize("n_steps", [1, 2, 7, 3_200, 100_000])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_it_rises_evenly_and_arrives(n_steps, fraction):
    progress = (np.arange(n_steps) + 1) / n_steps
    weights = np.array([linear_warmup(p, fraction) for p in progress])
    assert weights[-1] == 1.0
    assert (weights > 0).all()
    assert (weights <= 1).all()
    assert (np.diff(weights) >= 0).all()
    rising = progress < fraction
    np.testing.assert_allclose(weights[rising], progress[rising] / fraction if fraction else [])
    assert (weights[~rising] == 1).all()


def test_no_rise():
    assert linear_warmup(1e-9, 0.0) == 1.0


# -- learning rates ---------------------------------------------------------------------------

PROGRESS = np.linspace(0, 1, 1_001)


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_factors_are_shares_of_the_highest_rate(name):
    factors = np.array([LR_SCHEDULES[name](p) for p in PROGRESS])
    assert (factors >= 0).all()
    assert factors.max() == 1.0


def test_constant():
    assert {LR_SCHEDULES["constant"](p) for p in PROGRESS} == {1.0}


def test_cosine():
    """The formula at its start, quarters, and end; and it only falls."""
    assert cosine(0.0) == 1.0
    assert cosine(0.25) == pytest.approx((2 + np.sqrt(2)) / 4)
    assert cosine(0.5) == pytest.approx(0.5)
    assert cosine(1.0) == pytest.approx(0.0, abs=1e-15)
    assert (np.diff([cosine(p) for p in PROGRESS]) < 0).all()


@pytest.mark.parametrize("rise", [0.1, 0.3])
def test_one_cycle(rise):
    """From a tenth straight to one, then down a cosine to zero."""
    assert one_cycle(0.0, rise) == pytest.approx(0.1)
    assert one_cycle(rise / 2, rise) == pytest.approx(0.55)
    assert one_cycle(rise, rise) == 1.0
    assert one_cycle((1 + rise) / 2, rise) == pytest.approx(0.5)
    assert one_cycle(1.0, rise) == pytest.approx(0.0, abs=1e-15)
    factors = np.array([one_cycle(p, rise) for p in PROGRESS])
    peak = int(factors.argmax())
    assert PROGRESS[peak] == pytest.approx(rise)
    steps = np.diff(factors)
    np.testing.assert_allclose(steps[:peak], 0.9 / rise / 1_000)
    assert (steps[peak:] < 0).all()


def test_one_cycle_rises_for_a_tenth():
    assert one_cycle(0.1) == 1.0
    assert one_cycle(0.099) < 1 > one_cycle(0.101)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_after_the_end_the_rate_stays_zero(name):
    """Should a training go on for longer than was foreseen."""
    assert LR_SCHEDULES[name](1.2) == pytest.approx(0.0, abs=1e-15)
