"""Fates: exact where they are known, right on branches, and said where there are none."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse.linalg import gmres
from tests.dynamics.transitions.shapes import SPLIT, simulated, terminal_of

from lucidvi import dynamics
from lucidvi.dynamics.transitions import _fate_probabilities
from lucidvi.errors import DataError

LINE = np.linspace(0, 1, 41)[:, None]
ENDS = {"low": [0], "high": [40]}


def test_ruin_of_a_gambler():
    """On a line of cells, each a neighbour of the next, the chances are in closed form."""
    z = np.cumsum(1.1 ** np.arange(41))[:, None]  # the nearest is the one before
    velocity = np.where(np.arange(41) % 2, 1.0, np.nan)[:, None]
    steps = dynamics.transition_matrix(z, velocity, n_neighbors=1, drift=0.5).toarray()
    up, down = (np.diag(steps, k) for k in (1, -1))
    assert np.count_nonzero(steps) == 80
    odds = np.cumprod(np.concatenate([[1.0], down[:-1] / up[1:]]))
    expected = np.concatenate([[0.0], np.cumsum(odds) / odds.sum()])
    fates = dynamics.fate_probabilities(z, velocity, ENDS, n_neighbors=1, drift=0.5)
    np.testing.assert_allclose(fates["high"], expected, atol=1e-5)
    np.testing.assert_allclose(fates.sum(axis=1), 1)


def test_they_are_means_of_those_of_the_neighbours():
    known = simulated("three-way", n=400)
    terminal = terminal_of(known)
    steps = dynamics.transition_matrix(known.z, known.velocity)
    fates = dynamics.fate_probabilities(known.z, known.velocity, terminal).to_numpy()
    there = pd.notna(terminal)
    np.testing.assert_allclose((steps @ fates)[~there], fates[~there], atol=1e-4)
    assert np.isin(fates[there], [0, 1]).all()


@pytest.mark.parametrize("shape", ["bifurcation", "three-way"])
@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_branches(shape, noise):
    known = simulated(shape, n=900, velocity_noise=noise)
    fates = dynamics.fate_probabilities(known.z, known.velocity, terminal_of(known))
    n_fates = fates.shape[1]
    assert fates.columns.tolist() == [f"branch {i}" for i in range(n_fates)]
    on_branch = known.time > SPLIT + 0.5
    own = fates.to_numpy()[np.arange(900), known.branch]
    assert own[on_branch].mean() > 0.97
    before = known.time < SPLIT - 0.5
    np.testing.assert_allclose(fates[before].mean(), 1 / n_fates, atol=0.12)
    assert fates[before].max(axis=1).mean() < 0.65


def test_most_velocities_are_not_known():
    known = simulated("bifurcation", n=900)
    velocity = known.velocity.copy()
    velocity[np.arange(900) % 5 > 0] = np.nan
    fates = dynamics.fate_probabilities(known.z, velocity, terminal_of(known))
    on_branch = known.time > SPLIT + 0.5
    own = fates.to_numpy()[np.arange(900), known.branch]
    assert own[on_branch].mean() > 0.9


def test_ways_to_name_terminal_cells():
    names = pd.Index([f"cell{i}" for i in range(41)])
    z, velocity = pd.DataFrame(LINE, names), np.ones((41, 1))
    labels = pd.Series(None, names, dtype=object)
    labels.iloc[[0, 40]] = "low", "high"
    mask = np.arange(41)
    expected = dynamics.fate_probabilities(z, velocity, {"low": mask == 0, "high": mask == 40})
    assert expected.index.equals(names)
    for terminal in (
        {"low": [0], "high": [-1]},
        {"low": ["cell0"], "high": ["cell40"]},
        labels,
        labels.to_numpy(),
        labels.fillna(""),
        labels.fillna("").tolist(),
        np.array(labels.fillna(np.nan).tolist()),  # texts and NaN are texts for NumPy
        labels.astype("category"),
        pd.Categorical(labels, ["none", "low", "high"]),
        pd.Series(np.where(mask == 0, 2.0, np.where(mask == 40, 10.0, np.nan)), names),
    ):
        found = dynamics.fate_probabilities(z, velocity, terminal)
        assert found.index.equals(names)
        for own, column in (("low", 0), ("high", 1)):
            name = own if own in found else found.columns[column]
            np.testing.assert_array_equal(found[name], expected[own])
    series = dynamics.fate_probabilities(LINE, velocity, labels)
    assert series.index.equals(names)
    assert series.columns.name == "fate"


def test_order_of_the_fates():
    velocity = np.ones((41, 1))
    labels = np.full(41, np.nan)
    labels[[0, 20, 40]] = 10, 9, 11
    found = dynamics.fate_probabilities(LINE, velocity, labels)
    assert found.columns.tolist() == [9, 10, 11]
    given = dynamics.fate_probabilities(LINE, velocity, {"b": [40], "a": [0]})
    assert given.columns.tolist() == ["b", "a"]


def test_cells_without_a_path():
    z = np.concatenate([LINE, LINE + 50])
    with pytest.warns(
        UserWarning, match="41 of 82 cells, '41' first, reach none .* 'low', 'high'"
    ):
        fates = dynamics.fate_probabilities(z, np.ones((82, 1)), ENDS)
    assert fates[41:].isna().all(axis=None)
    assert fates[:41].notna().all(axis=None)


def test_a_terminal_state_that_is_not_named():
    """Cells that are held there have no fate, and the others that of the rest."""
    known = simulated("three-way", n=900)
    terminal = terminal_of(known)
    terminal[terminal == "branch 2"] = None
    with pytest.warns(UserWarning, match="as where a terminal state is not named"):
        fates = dynamics.fate_probabilities(known.z, known.velocity, terminal)
    lost = fates.isna().all(axis=1)
    on_branch = known.time > SPLIT + 1
    assert lost[on_branch & (known.branch == 2)].all()
    assert not lost[on_branch & (known.branch != 2)].any()
    assert not lost[known.time < SPLIT - 1].any()
    np.testing.assert_allclose(fates[~lost].sum(axis=1), 1)


def test_a_flow_against_the_ends():
    with pytest.warns(UserWarning, match="reach none"):
        fates = dynamics.fate_probabilities(
            LINE, np.sign(0.5 - LINE), ENDS, n_neighbors=2, drift=20
        )
    assert fates.iloc[15:26].isna().all(axis=None)


@pytest.mark.parametrize("factored_works", [True, False])
def test_every_way_to_solve(monkeypatch, factored_works):
    """By an incomplete factorisation if plain steps do not arrive, and at last by a whole one."""
    known = simulated("bifurcation", n=300)
    given = known.z, known.velocity, terminal_of(known)
    expected = dynamics.fate_probabilities(*given)

    def refuses(system, column, **options):
        x, failed = gmres(system, column, **options)
        return (x, failed) if "M" in options and factored_works else (x * np.nan, 1)

    monkeypatch.setattr(_fate_probabilities, "gmres", refuses)
    np.testing.assert_allclose(dynamics.fate_probabilities(*given), expected, atol=1e-5)


def test_it_is_the_same_each_time_and_for_all_axes():
    known = simulated("three-way", n=300)
    terminal = terminal_of(known)
    first = dynamics.fate_probabilities(known.z, known.velocity, terminal)
    again = dynamics.fate_probabilities(known.z, known.velocity, terminal)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    turned = dynamics.fate_probabilities(known.z @ turn, known.velocity @ turn, terminal)
    np.testing.assert_allclose(turned, first, atol=1e-6)
    single = dynamics.fate_probabilities(
        known.z.astype(np.float32), known.velocity.astype(np.float32), terminal
    )
    np.testing.assert_allclose(single, first, atol=1e-3)


def test_all_cells_are_terminal():
    fates = dynamics.fate_probabilities(
        LINE, np.ones((41, 1)), np.where(LINE[:, 0] < 0.5, "a", "b")
    )
    assert fates["a"].sum() == 20


@pytest.mark.slow
def test_twenty_thousand_cells():
    known = simulated("three-way", n=20_000, n_latent=15)
    fates = dynamics.fate_probabilities(known.z, known.velocity, terminal_of(known))
    own = fates.to_numpy()[np.arange(20_000), known.branch]
    assert own[known.time > SPLIT + 0.5].mean() > 0.95


@pytest.mark.parametrize(
    ("terminal", "problem"),
    [
        ([None] * 41, "`terminal` names no group"),
        ({}, "`terminal` names no group"),
        (["a"] * 41, "`terminal` names one group, 'a',"),
        ({"a": [0]}, "`terminal` names one group, 'a',"),
        ({"a": [0], "b": []}, r"`terminal\['b'\]` is empty"),
        ({"a": [0], "b": np.zeros(41, bool)}, r"`terminal\['b'\]` chooses none of the 41 cells"),
        ({"a": [0], "b": None}, "`terminal` has no cells of 'b'"),
        ({"a": [0, 1], "b": [1, 2]}, "1 cells in two groups, 'a' and 'b': '1' first"),
        ({"a": [0], "b": [41]}, r"`terminal\['b'\]` has position 41"),
        (["a", "b"], "`terminal` has 2 labels, and there are 41 cells"),
        (np.zeros(41, bool), "`terminal` is a mask"),
        (np.full((41, 2), "a"), r"`terminal` has the shape \(41, 2\)"),
    ],
)
def test_bad_groups(terminal, problem):
    with pytest.raises(DataError, match=problem) as caught:
        dynamics.fate_probabilities(LINE, np.ones((41, 1)), terminal)
    assert caught.value.remedy
