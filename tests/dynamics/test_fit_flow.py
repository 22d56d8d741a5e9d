"""Fields from cells of several times: known answers, one seed one field, errors."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

from lucidvi import dynamics
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError
from lucidvi.model import SCVI

QUICK = {"n_members": 2, "n_steps": 400}


def growing(n_cells=60, seed=0):
    """Two groups that drift apart, of which one becomes twice as many from time to time."""
    rng = np.random.default_rng(seed)
    states, times, side = [], [], []
    for t in (0, 1, 2):
        n = n_cells * 2**t
        left = rng.normal(size=(n_cells, 2)) * 0.2 + [-1 - t, 0]
        right = rng.normal(size=(n, 2)) * 0.2 + [1 + t, 0.5 * t]
        states += [left, right]
        times += [t] * (n_cells + n)
        side += [False] * n_cells + [True] * n
    return np.concatenate(states), np.array(times, float), np.array(side)


@pytest.fixture(scope="module")
def drift():
    z, time, side = growing()
    return dynamics.fit_flow(z, time, mass="cells", **QUICK), z, time, side


def test_growth_and_velocity_of_two_groups(drift):
    field, z, time, side = drift
    growth = field.growth(z, time)
    np.testing.assert_allclose(np.median(growth[side]), np.log(2), atol=0.1)
    np.testing.assert_allclose(np.median(growth[~side]), 0, atol=0.1)
    velocity = field.velocity(z, time)
    np.testing.assert_allclose(np.median(velocity[side], axis=0), [1, 0.5], atol=0.1)
    np.testing.assert_allclose(np.median(velocity[~side], axis=0), [-1, 0], atol=0.1)


def test_mass_is_reported(drift):
    field, *_ = drift
    table = field.samples
    assert table.index.tolist() == [0, 1, 2]
    assert table["n_cells"].tolist() == [120, 180, 300]
    np.testing.assert_allclose(table["mass"], [1, 1.5, 2.5])
    np.testing.assert_allclose(table["mass_of_field"], table["mass"], rtol=0.05)


def test_of_equal_mass_growth_is_relative():
    z, time, side = growing()
    field = dynamics.fit_flow(z, time, **QUICK)
    growth = field.growth(z, time)
    assert np.median(growth[~side]) < -0.1 < 0.1 < np.median(growth[side])
    np.testing.assert_allclose(field.samples["mass"], 1)
    given = dynamics.fit_flow(z, time, mass={0: 2, 1: 2, 2: 2}, **QUICK)
    np.testing.assert_array_equal(given(z, time), field(z, time))


def test_without_growth_the_mass_stays():
    z, time, _ = growing()
    field = dynamics.fit_flow(z, time, growth=False, **QUICK)
    np.testing.assert_array_equal(field.growth(z, time), 0)
    np.testing.assert_array_equal(field.integrate(z[:5], 0, 2).log_mass, 0)
    assert "without growth" in repr(field)


def test_one_seed_one_field(drift):
    field, z, time, _ = drift
    np.random.seed(5)  # noqa: NPY002 (that of the process changes nothing, and is not changed)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = dynamics.fit_flow(z, time, mass="cells", **QUICK)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_array_equal(again(z, time), field(z, time))
    other = dynamics.fit_flow(z, time, mass="cells", seed=1, **QUICK)
    assert not np.allclose(other(z, time), field(z, time))


def test_the_order_of_cells_is_of_no_account(drift):
    field, z, time, _ = drift
    by_time = np.argsort(time, kind="stable")
    assert (by_time == np.arange(len(time))).all()
    mixed = np.concatenate([np.flatnonzero(time == t) for t in (2, 0, 1)])
    again = dynamics.fit_flow(z[mixed], time[mixed], mass="cells", **QUICK)
    np.testing.assert_array_equal(again(z, time), field(z, time))


def test_a_rotation_of_the_states_changes_nothing(drift):
    field, z, time, _ = drift
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = dynamics.fit_flow(10 + 3 * z @ turn, time, mass="cells", **QUICK)
    velocity = turned(10 + 3 * z @ turn, time) @ turn.T / 3
    np.testing.assert_allclose(velocity, field(z, time), atol=0.05)
    np.testing.assert_allclose(
        turned.growth(10 + 3 * z @ turn, time), field.growth(z, time), atol=0.05
    )


def test_times_that_are_categories_of_numbers(drift):
    field, z, time, _ = drift
    days = pd.Categorical(time.astype(int).astype(str), categories=["2", "0", "1"])
    again = dynamics.fit_flow(z, pd.Series(days), mass="cells", **QUICK)
    np.testing.assert_array_equal(again(z, time), field(z, time))


def test_a_model_gives_its_cells_and_their_posteriors(make_adata):
    adata = make_adata(n_cells=90)
    adata.obs["day"] = np.repeat([0.0, 1.0, 3.0], 30)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=3)
    model.train(max_epochs=1, enable_progress_bar=False)
    with pytest.warns(UserWarning, match="no further apart"):
        field = dynamics.fit_flow(model, time_key="day", **QUICK)
    assert field.n_latent == 3
    assert field(model.get_latent_representation(), adata.obs["day"]).shape == (90, 3)
    with pytest.raises(MissingKeyError, match="time_key"):
        dynamics.fit_flow(model, time_key="days")
    for times in ({}, {"time": adata.obs["day"], "time_key": "day"}):
        with pytest.raises(DataError, match=r"`time` (or|and) `time_key`"):
            dynamics.fit_flow(model, **times)


def with_value(values, place, value):
    changed = np.array(values, dtype=float)
    changed[place] = value
    return changed


Z, T = np.random.default_rng(0).normal(size=(60, 2)), np.repeat([0.0, 1.0, 2.0], 20)
STAGES = np.repeat(["early", "middle", "late"], 20)


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        ((Z, np.zeros(60)), "`time` is 0 in all cells", "two times"),
        ((Z, STAGES), "'early', 'middle', 'late', whose order", r"map\(\{'early': 0"),
        ((Z, with_value(T, 7, np.nan)), "not known of 1 of 60 cells, 7 first", "leave"),
        ((with_value(Z, 5, np.inf), T), "not finite in 1 of 60 cells, 5 first", "leave"),
        ((Z, T[:50]), r"shape \(50,\), and there are 60 cells", "one for each"),
        ((Z[:, 0], T), r"`z` has the shape \(60,\)", "cells by dimensions"),
        ((Z, with_value(T, 7, 3.0)), "1 of 4 times, 3, have fewer than 10", "join"),
        ((Z,), "no columns", "adata.obs"),
        ((AnnData(Z), T), "`z` is AnnData", "obsm"),
        ((csr_matrix(Z), T), "`z` is a csr_matrix, which is no array", "obsm"),
    ],
)
def test_bad_cells(arguments, problem, remedy):
    with pytest.raises(DataError, match=problem) as caught:
        dynamics.fit_flow(*arguments)
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"mass": "cell"}, "`mass` is 'cell'"),
        ({"mass": {0: 1, 1: 2}}, "has no mass of 2"),
        ({"mass": {0: 1, 1: 2, 2: -1}}, "no positive number for 2"),
        ({"mass": "cells", "growth": False}, "stays what it is"),
        ({"relaxation": 0}, "`relaxation` is 0"),
        ({"bending": 2}, "`bending` is 2"),
        ({"n_members": 0}, "`n_members` is 0"),
        ({"n_steps": 1.5}, "`n_steps` is 1.5"),
        ({"time_key": "day"}, "no columns"),
    ],
)
def test_bad_arguments(arguments, problem):
    with pytest.raises(DataError, match=problem):
        dynamics.fit_flow(Z, T, **arguments)


def test_few_cells_and_times_that_are_close():
    rng = np.random.default_rng(0)
    time = np.repeat([0.0, 1e-3, 100.0], 10)
    with pytest.warns(UserWarning, match="no further apart"):
        field = dynamics.fit_flow(rng.normal(size=(30, 5)), time, **QUICK)
    assert np.isfinite(field.integrate(rng.normal(size=(4, 5)), 0, 100).z).all()


def test_states_that_do_not_differ():
    with pytest.warns(UserWarning, match="no further apart"):
        field = dynamics.fit_flow(np.ones((30, 2)), np.repeat([0.0, 1, 2], 10), **QUICK)
    np.testing.assert_allclose(field(np.ones((3, 2)), 1), 0, atol=1e-6)


def test_names_of_times_are_those_of_the_states(make_adata):
    names = [f"cell{i}" for i in range(60)]
    z, time = pd.DataFrame(Z, index=names), pd.Series(T, index=names)
    with pytest.raises(DataError, match="`time` has other names of cells"):
        dynamics.fit_flow(z, time.iloc[::-1], **QUICK)
    adata = make_adata(60)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=2, n_hidden=8)
    model.is_trained = True
    with pytest.raises(DataError, match="`time` has other names of cells"):
        dynamics.fit_flow(model, time=time.iloc[::-1], **QUICK)


@pytest.mark.filterwarnings("ignore:Cells of the times")
def test_some_cells_of_a_model_and_no_trace_of_it(make_adata):
    adata = make_adata(60)
    adata.obs["day"] = np.where(np.arange(60) < 5, np.nan, np.arange(60) % 3)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=2, n_hidden=8)
    model.is_trained = True
    state = torch.random.get_rng_state()
    field = dynamics.fit_flow(
        model, time_key="day", indices=adata.obs["day"].notna(), n_members=1, n_steps=5
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert field.samples["n_cells"].sum() == 55
    with pytest.raises(DataError, match="`time` is not known of 5 of 60 cells, 'cell0' first"):
        dynamics.fit_flow(model, time_key="day", **QUICK)
    day, rows = np.arange(60) % 3, np.arange(5, 60)
    for time in (day, day[rows]):  # of all cells, or of the chosen ones
        again = dynamics.fit_flow(model, time, indices=rows, n_members=1, n_steps=5)
        assert again.samples["n_cells"].equals(field.samples["n_cells"])
    for time in (np.arange(70) % 3, day[:50], pd.Series(np.arange(70) % 3)):
        with pytest.raises(DataError, match=r"`time` has the shape .*, and there are 60 cells"):
            dynamics.fit_flow(model, time, **QUICK)
    with pytest.raises(DataError, match="`indices` are of a model's cells"):
        dynamics.fit_flow(Z, T, indices=[1, 2], **QUICK)
    shares = SCVI(adata, n_latent=2, n_hidden=8, latent_distribution="ln")
    shares.is_trained = True
    with pytest.raises(ModelTypeError, match="states that are shares"):
        dynamics.fit_flow(shares, time_key="day")


@pytest.mark.parametrize("masses", [{0: 1, 1: 300}, {0: 300, 1: 1}])
def test_masses_that_are_far_apart_are_met(masses):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(120, 2)) + np.repeat([0, 2], 60)[:, None]
    field = dynamics.fit_flow(
        z, np.repeat([0, 1], 60), mass=pd.Series(masses), n_members=2, n_steps=600
    )
    expected = masses[1] / masses[0]
    assert field.samples["mass_of_field"].iloc[1] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"time": pd.DataFrame({"day": T})}, "`time` has the shape .60, 1."),
        ({"time": pd.Series(pd.to_datetime(T, unit="D"))}, "dates or durations"),
        ({"mass": {"early": 1, "late": 2}}, "`mass` has the key 'early', which is no time"),
        ({"mass": pd.Series([1, 1, 2]), "growth": False}, "with `growth=False`"),
    ],
)
def test_times_and_masses_of_other_kinds(kwargs, message):
    with pytest.raises(DataError, match=message):
        dynamics.fit_flow(Z, **({"time": T} | kwargs), **QUICK)
