"""Training against held-out cells, where what carries over is known."""

import numpy as np
import pytest

from lucidvi.audit.checks._overfitting import overfitting
from lucidvi.audit.subject._alternatives import Comparison


def compared(lost, n_fit=1500, n_held_out=300, seed=0):
    """Cells of very different depth, of which a model explains 100 nats, less in held-out ones."""
    rng = np.random.default_rng(seed)

    def cells(n, explained):
        log_total = rng.normal(7, 0.6, n)
        null = -0.6 * np.exp(log_total) + rng.normal(0, 20, n)
        gained = explained * np.exp(log_total - 7 - 0.18) + rng.normal(0, 15, n)
        return null + gained, null, log_total

    fit, held_out = cells(n_fit, 100.0), cells(n_held_out, 100.0 * (1 - lost))
    return Comparison({}, fit[0], held_out[0], fit[1], held_out[1], fit[2], held_out[2])


@pytest.mark.parametrize("lost", [0.0, 0.1, 0.5])
def test_share_that_does_not_carry_over(lost):
    found = overfitting(compared(lost))
    assert abs(found.share - lost) < 3 * found.error + 0.03
    assert 0.002 < found.error < 0.03
    assert found.explained == pytest.approx(100, rel=0.05)


def test_standard_error():
    """It is the spread of the estimate over repetitions."""
    found = [overfitting(compared(0.0, 400, 200, seed)) for seed in range(60)]
    spread = np.std([each.share for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.35)


def test_a_model_that_explains_nothing():
    given = compared(0.0)
    worse = Comparison(
        {},
        *(v - 500 for v in (given.elbo_fit, given.elbo_evaluated)),
        given.null_fit,
        given.null_evaluated,
        given.log_total_fit,
        given.log_total_evaluated,
    )
    assert np.isnan(overfitting(worse).share)
