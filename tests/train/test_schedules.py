"""A schedule is a share of the training, whatever the number of cells."""

import numpy as np
import pytest

from lucidvi.train import linear_warmup


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
