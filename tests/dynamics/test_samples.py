"""Samples of several times: their order, and how members share their cells."""

import numpy as np
import pytest

from lucidvi.dynamics._samples import Samples

Z = np.arange(60.0)[:, None]
TIME = np.repeat([3.0, -1.0, 0.5], 20)


def test_times_are_in_order_and_masses_relative():
    samples = Samples.of(Z, TIME, {3: 8, -1: 2, 0.5: 4})
    np.testing.assert_array_equal(samples.times, [-1, 0.5, 3])
    np.testing.assert_array_equal(samples.masses, [1, 2, 4])
    assert samples.states[0][:, 0].tolist() == list(range(20, 40))
    assert samples.n_latent == 1
    assert len(samples) == 3


@pytest.mark.parametrize("most", [20, 100])
def test_members_together_have_each_cell_as_often(most):
    members = Samples.of(Z, TIME, "equal").drawn(7, most, np.random.default_rng(0))
    assert len(members) == 7
    values, counts = np.unique([member.states[1] for member in members], return_counts=True)
    assert values.tolist() == list(range(40, 60))
    assert set(counts) == {7}
    one = np.unique(members[0].states[1])
    assert 5 < len(one) < 20  # drawn anew: some of them several times


def test_members_of_a_large_sample_have_other_cells():
    members = Samples.of(Z, TIME, "equal").drawn(4, 5, np.random.default_rng(0))
    drawn = np.concatenate([member.states[2].ravel() for member in members])
    assert len(drawn) == len(set(drawn)) == 20


def test_states_are_drawn_from_their_posteriors():
    scale = np.full((60, 1), 0.5)
    samples = Samples.of(np.zeros((60, 1)), TIME, "equal", scale)
    drawn = np.concatenate([m.states[0] for m in samples.drawn(200, 20, np.random.default_rng(0))])
    assert drawn.std() == pytest.approx(0.5, rel=0.05)
    assert abs(drawn.mean()) < 0.05
