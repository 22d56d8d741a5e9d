"""Batch and depth in a latent space where they were put, or not."""

import numpy as np
import pytest

from lucidvi.audit.checks import confounding
from lucidvi.audit.checks._confounding import latent_share, neighbour_r2, within

N_CELLS, N_LATENT = 900, 5


def cells(seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N_CELLS, N_LATENT))
    batch = rng.choice(["a", "b", "c"], size=N_CELLS, p=[0.6, 0.3, 0.1])
    return z, batch, rng.normal(7, 0.5, N_CELLS), np.full(N_CELLS, "")


def verdicts(found):
    return {criterion.name: criterion.verdict for criterion in found.criteria}


def test_nothing_to_find():
    found = confounding(*cells())
    assert set(verdicts(found).values()) == {"ok"}
    assert found.batch_accuracy == pytest.approx(1 / 3, abs=0.08)
    assert found.batch_chance == pytest.approx(1 / 3, abs=0.02)
    assert found.library_r2 < 0.05
    assert found.batch_null.shape == found.library_null.shape == (200,)
    assert tuple(found.batch_recall.index) == ("a", "b", "c")


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "ok"), (1.2, "warn"), (5.0, "fail")])
def test_batch_that_shows(shift, verdict):
    z, batch, log_total, label = cells()
    z[batch == "c", 0] += shift
    z[batch == "b", 1] += shift
    found = confounding(z, batch, log_total, label)
    assert verdicts(found)["batch"] == verdict
    assert ("batch_key" in found.cure) == (verdict != "ok")
    if verdict == "fail":
        assert found.batch_accuracy > 0.9
        assert found.batch_p < 0.01


def test_composition_does_not_count():
    """Batches of different types of cells are told apart, but not within a type."""
    rng = np.random.default_rng(0)
    z, _, log_total, _ = cells()
    label = rng.choice(["T", "B"], size=N_CELLS)
    z[label == "T"] += 6
    batch = np.where(rng.random(N_CELLS) < np.where(label == "T", 0.9, 0.1), "a", "b")
    log_total[label == "T"] += 2
    blind = confounding(z, batch, log_total, np.full(N_CELLS, ""))
    aware = confounding(z, batch, log_total, label)
    assert verdicts(blind) == {"batch": "fail", "library": "warn", "library_share": "fail"}
    assert set(verdicts(aware).values()) == {"ok"}
    assert aware.within_labels
    assert blind.batch_accuracy == aware.batch_accuracy


def test_one_batch():
    z, batch, log_total, label = cells()
    found = confounding(z, np.full_like(batch, "a"), log_total, label)
    assert verdicts(found)["batch"] == "skipped"
    assert np.isnan(found.batch_accuracy)


@pytest.mark.parametrize(("part", "verdict"), [(0.0, "ok"), (1.0, "fail")])
def test_depth_that_shows(part, verdict):
    z, batch, log_total, label = cells()
    depth = (log_total - log_total.mean()) / log_total.std()
    z[:, 0] = 2 * part * depth + (1 - part) * z[:, 0]
    found = confounding(z, batch, log_total, label)
    want = 4 / (4 + N_LATENT - 1) if part else 0
    assert found.library_latent_share == pytest.approx(want, abs=0.04)
    assert verdicts(found)["library_share"] == verdict
    assert (found.library_r2 > 0.5) == bool(part)


def test_share_of_variance_is_that_of_linear_regression():
    from sklearn.linear_model import LinearRegression

    z, _, value, label = cells()
    z[:, 2] += value
    value = value[:, None]
    left = z - LinearRegression().fit(value, z).predict(value)
    want = 1 - left.var(axis=0).sum() / z.var(axis=0).sum()
    assert latent_share(z, value[:, 0], label) == pytest.approx(want)


def test_permutations_stay_within_labels():
    label = np.array(list("aabbbcab"))
    order = within(label, np.random.default_rng(0))
    assert (label[order] == label).all()
    assert sorted(order) == list(range(len(label)))


def test_r2_of_neighbours():
    value = np.array([1.0, 1.0, 5.0, 5.0])
    assert neighbour_r2(np.array([[1], [0], [3], [2]]), value) == 1
    assert neighbour_r2(np.array([[2], [3], [0], [1]]), value) == -3
