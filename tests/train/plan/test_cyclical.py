"""Cycles of the KL weight: their values in closed form, and that the last one ends."""

import numpy as np
import pytest

from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.train import KL_SCHEDULES, PRESETS, Cyclical, TrainingPlan, plan_arguments


@pytest.mark.parametrize("n_steps", [4, 8, 40, 10_000])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_each_cycle_is_a_warmup_of_its_own(n_steps, fraction):
    """As one cycle, repeated: the weight at step s of a cycle of n steps is s / (r n)."""
    n_cycles = 4
    in_cycle = np.arange(n_steps) % (n_steps // n_cycles) + 1
    want = np.minimum(1, in_cycle / (n_steps // n_cycles) / fraction)
    schedule = Cyclical(n_cycles)
    got = [schedule((step + 1) / n_steps, fraction) for step in range(n_steps)]
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("n_cycles", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("n_steps", [1, 2, 7, 999, 100_000])
def test_it_ends_at_the_full_weight(n_cycles, n_steps):
    """Also where the steps are no multiple of the cycles, or fewer."""
    weights = np.array([Cyclical(n_cycles)((i + 1) / n_steps, 0.5) for i in range(n_steps)])
    assert weights[-1] == 1.0
    assert (weights > 0).all()
    assert (weights <= 1).all()
    falls = int((np.diff(weights) < 0).sum())
    assert falls == n_cycles - 1 or n_steps < 2 * n_cycles


def test_no_rise_and_one_cycle():
    progress = (np.arange(500) + 1) / 500
    assert {Cyclical()(p, 0.0) for p in progress} == {1.0}
    linear = KL_SCHEDULES["linear"]
    np.testing.assert_allclose(
        [Cyclical(1)(p, 0.3) for p in progress], [linear(p, 0.3) for p in progress], atol=1e-12
    )


def test_the_weight_that_is_logged(adata):
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    plan = {"kl_schedule": Cyclical(2), "kl_warmup": 1.0, "max_kl_weight": 0.8}
    model.train(max_epochs=4, train_size=1.0, batch_size=60, plan_kwargs=plan)
    logged = model.history["kl_weight"].astype(float).to_numpy().ravel()
    np.testing.assert_allclose(logged, [0.4, 0.8, 0.4, 0.8])


def test_it_takes_the_place_of_a_schedule_of_scvi_tools():
    got = plan_arguments(PRESETS["scvi"](60, 1), {"kl_schedule": "cyclical"})
    assert "n_epochs_kl_warmup" not in got
    assert TrainingPlan(VAE(n_input=3, n_batch=1), **got).kl_schedule == Cyclical(4)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kl_schedule": "sine"}, "`kl_schedule` is 'sine'; it must be one of 'linear', 'cycl"),
        (
            {"kl_schedule": "cyclical", "n_epochs_kl_warmup": 400},
            "`kl_schedule` is 'cyclical', .* `n_epochs_kl_warmup` is given too",
        ),
    ],
)
def test_what_cannot_be_a_schedule(plan, message):
    with pytest.raises(ValueError, match=message):
        TrainingPlan(VAE(n_input=3, n_batch=1), **plan)


def test_no_cycle_at_all():
    with pytest.raises(ValueError, match="`n_cycles` of the KL schedule is 0; at least 1"):
        Cyclical(0)
