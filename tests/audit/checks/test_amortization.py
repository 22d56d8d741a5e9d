"""The encoder's error, with gaps that are known."""

import numpy as np
import pandas as pd
import pytest

from lucidvi.audit.checks import amortization

N_CELLS, N_LATENT, SCALE = 200, 4, 0.2


def judged(shift, explained=100.0, scale=SCALE, label=None, batch=None):
    """Encoder means that are off by some posterior standard deviations on every axis."""
    refined = np.random.default_rng(3).normal(size=(N_CELLS, N_LATENT))
    shift = np.broadcast_to(shift, N_CELLS)[:, None]
    signs = np.random.default_rng(4).choice([-1, 1], size=refined.shape)
    gap = 0.5 * N_LATENT * np.square(shift[:, 0])
    nobody = np.full(N_CELLS, "")
    return amortization(
        gap,
        np.full(N_CELLS, 0.7),
        np.full(N_CELLS, explained),
        refined + shift * scale * signs,
        refined,
        np.full_like(refined, scale),
        names=pd.RangeIndex(N_CELLS),
        label=nobody if label is None else label,
        batch=nobody if batch is None else batch,
    )


def verdicts(found):
    return {criterion.name: criterion.verdict for criterion in found.criteria}


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.6, 2.0])
def test_error_in_standard_deviations(shift):
    found = judged(shift)
    determined = 1 - SCALE**2
    assert found.error_in_sd == pytest.approx(shift / np.sqrt(determined))
    assert found.mean_amortization_gap == pytest.approx(2 * shift**2)
    assert found.mean_approximation_gap == pytest.approx(0.7)
    # Too small by half: the posterior's own variance and the error's, over the posterior's.
    half = 1 + found.error_in_sd**2 >= 4
    assert verdicts(found)["error"] == ("warn" if half else "ok")


@pytest.mark.parametrize(("shift", "verdict"), [(0.8, "ok"), (2.5, "warn"), (5.0, "fail")])
def test_share_that_is_missed(shift, verdict):
    found = judged(shift, explained=100.0)
    assert found.missed_share == pytest.approx(2 * shift**2 / 100)
    assert verdicts(found)["missed"] == verdict
    assert ("refine_posterior" in found.cure) == (verdict != "ok")


def test_nothing_to_explain():
    found = judged(1.0, explained=0.0)
    assert found.missed_share == 0
    assert judged(1.0, scale=1.0).error_in_sd != judged(1.0, scale=1.0).error_in_sd
    assert verdicts(judged(1.0, scale=1.0))["error"] == "skipped"


def test_neighbours():
    same = judged(0.0)
    assert same.neighbours_changed == 0
    assert 0.1 < same.neighbours_changed_by_chance < 0.9
    far = judged(4.0)
    assert far.neighbours_changed > same.neighbours_changed_by_chance + 0.05
    assert verdicts(far)["neighbours"] == "warn"
    # Off by as much as a draw is, on average.
    like_a_draw = judged(1.0)
    assert like_a_draw.neighbours_changed == pytest.approx(
        same.neighbours_changed_by_chance, abs=0.06
    )


def test_groups():
    label = np.where(np.arange(N_CELLS) < 40, "rare", "common")
    batch = np.array(["a", "b"])[np.arange(N_CELLS) % 2]
    found = judged(np.where(label == "rare", 1.8, 0.4), label=label, batch=batch)
    by_name = {(group.by, group.group): group for group in found.groups}
    assert set(by_name) == {("label", "rare"), ("label", "common"), ("batch", "a"), ("batch", "b")}
    rare = by_name["label", "rare"]
    assert rare.n_cells == 40
    assert rare.amortization_gap == pytest.approx(2 * 1.8**2)
    assert verdicts(found)["group"] == "warn"
    assert "'rare'" in found.problems[0].statement
    assert verdicts(judged(0.5, label=label))["group"] == "ok"
    assert verdicts(judged(0.5))["group"] == "skipped"
