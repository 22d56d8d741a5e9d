"""What every field does: shapes, no cell that depends on another, one seed one field."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from tests.dynamics.conftest import TURN, circling
from tests.linear_field import straight

from lucidvi import dynamics
from lucidvi.errors import DataError, MissingPackageError


def test_shapes_and_types(field):
    z = np.random.default_rng(0).normal(size=(7, 2))
    assert field(z, 1.0).shape == field.velocity(z, np.arange(7)).shape == (7, 2)
    assert field.growth(z, 1.0).shape == (7,)
    assert field.uncertainty(z, 1.0).shape == (7, 2)
    one, several = field.integrate(z, 0, 2), field.integrate(z, 0, [1, 2])
    assert one.z.shape == (7, 2)
    assert one.log_mass.shape == (7,)
    assert several.z.shape == (2, 7, 2)
    assert several.log_mass.shape == (2, 7)
    np.testing.assert_allclose(several.z[1], one.z, atol=1e-3)
    assert "2 dimensions, 5 times from 0 to 5, with growth, 3 members" in repr(field)


def test_no_cell_depends_on_the_others(field):
    z = np.random.default_rng(0).normal(size=(5, 2))
    together = field.integrate(z, 0, 4)
    for i in range(5):
        alone = field.integrate(z[i : i + 1], 0, 4)
        np.testing.assert_allclose(alone.z[0], together.z[i], atol=1e-5)
        np.testing.assert_allclose(alone.log_mass[0], together.log_mass[i], atol=1e-5)
    np.testing.assert_allclose(field(z[:1], 2)[0], field(z, 2)[0], atol=1e-5)


def test_there_and_back(field):
    z = circling(20, [0.0])[0]
    there = field.integrate(z, 0, 5)
    back = field.integrate(there.z, 5, [3, 0])
    np.testing.assert_allclose(back.z[1], z, atol=1e-2)
    np.testing.assert_allclose(back.log_mass[1], -there.log_mass, atol=1e-2)


def test_the_mean_is_of_the_members(field):
    z = np.random.default_rng(0).normal(size=(6, 2))
    members = np.stack([field(z, 1.5, member=i) for i in range(3)])
    np.testing.assert_allclose(members.mean(axis=0), field(z, 1.5), atol=1e-5)
    np.testing.assert_allclose(members.std(axis=0, ddof=1), field.uncertainty(z, 1.5), atol=1e-5)
    moved = field.integrate(z, 0, 2, member=1)
    assert not np.allclose(moved.z, field.integrate(z, 0, 2).z, atol=1e-4)


def test_standing_still(field):
    z = np.ones((3, 2))
    np.testing.assert_allclose(field.integrate(z, 1, 1).z, z)
    np.testing.assert_allclose(field.integrate(z, 1, [1, 1]).z, [z, z])


def test_cells_that_circle(field, circle):
    z, time = circle
    angle = np.arctan2(z[:, 1], z[:, 0])
    truth = 2 * TURN * np.column_stack([-np.sin(angle), np.cos(angle)])
    found = field(z, time)
    cosine = (found * truth).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert np.mean(cosine / np.linalg.norm(truth, axis=1)) > 0.97
    start = z[time == 0]
    end = field.integrate(start, 0, 5).z
    np.testing.assert_allclose(np.linalg.norm(end, axis=1), 2, atol=0.5)
    np.testing.assert_allclose(end.mean(axis=0), z[time == 5].mean(axis=0), atol=0.15)


def test_members_differ_where_there_were_no_cells(field, circle):
    z, time = circle
    at = time == 2
    assert field.uncertainty(8 * z[at], 2).mean() > 3 * field.uncertainty(z[at], 2).mean()


def test_beyond_the_times_the_field_stays(field):
    z = np.ones((2, 2))
    np.testing.assert_allclose(field(z, 9), field(z, 5))
    np.testing.assert_allclose(field(z, -1), field(z, 0))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f(np.ones((3, 4)), 0), "shape .3, 4., and the field has 2 dim"),
        (lambda f: f(np.full((3, 2), np.nan), 0), "not finite in 3 of 3 states, 0 first"),
        (lambda f: f(np.ones((3, 2)), [1, 2]), "`t` has the shape"),
        (lambda f: f(np.ones((3, 2)), np.inf), "`t` has the shape .., or is not finite"),
        (lambda f: f(np.ones((3, 2)), 0, member=3), "there are 3 members"),
        (
            lambda f: f.integrate(np.ones((3, 2)), 0, [1, 3, 2]),
            r"`t1` is .1, 3, 2., and the cells begin at 0",
        ),
        (lambda f: f(np.ones((3, 2)), "late"), "`t` has the shape .., or is not finite"),
        (lambda f: f(csr_matrix(np.ones((3, 2))), 0), "`z` is a csr_matrix, which is no array"),
        (
            lambda f: f.integrate(np.ones((3, 2)), 0, 2e4),
            "followed from 0 to 20000, and the field",
        ),
        (lambda f: f.integrate(np.ones((3, 2)), 0, np.nan), "`t1` is nan"),
    ],
)
def test_bad_questions(field, ask, message):
    with pytest.raises(DataError, match=message):
        ask(field)


def test_one_member_has_no_uncertainty(circle):
    field = dynamics.fit_flow(*circle, n_members=1, n_steps=2)
    with pytest.raises(DataError, match="one member"):
        field.uncertainty(np.ones((1, 2)), 0)


def test_without_the_solver(field, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchdiffeq", None)
    with pytest.raises(MissingPackageError, match="torchdiffeq"):
        field.integrate(np.ones((1, 2)), 0, 1)


def test_each_state_from_a_time_of_its_own(field):
    z, begins = np.random.default_rng(0).normal(size=(6, 2)), np.array([0, 0, 1, 1, 2.5, 4])
    together = field.integrate(z, begins, 4)
    for begin in np.unique(begins):
        own = begins == begin
        alone = field.integrate(z[own], begin, 4)
        np.testing.assert_allclose(together.z[own], alone.z, atol=1e-4)
        np.testing.assert_allclose(together.log_mass[own], alone.log_mass, atol=1e-4)
    several = field.integrate(z, begins, [4, 5])
    np.testing.assert_allclose(several.z[0], together.z, atol=1e-5)
    both_ways = field.integrate(z, begins, 1)  # some of them back
    np.testing.assert_allclose(both_ways.z[2:4], z[2:4], atol=1e-6)
    with pytest.raises(DataError, match=r"`t1` is \[3, 5\].*begin between 0 and 4"):
        field.integrate(z, begins, [3, 5])
    with pytest.raises(DataError, match="`t0` has the shape"):
        field.integrate(z, begins[:2], 5)


def test_paths_of_known_fields():
    z = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    field = straight([[0.5, -1.0]], times=(0.0, 4.0), growth=[2.0, 0.0])
    moved = field.integrate(z, 1, [2, 3.5])
    for k, span in enumerate((1.0, 2.5)):
        np.testing.assert_allclose(moved.z[k], z + span * np.array([0.5, -1.0]), atol=1e-5)
        grown = 2 * (z[:, 0] * span + 0.5 * span**2 / 2)
        np.testing.assert_allclose(moved.log_mass[k], grown, atol=1e-4)


def test_every_time_is_as_exact_as_the_last(field):
    """Between the steps of a solver, states would lie on straight lines."""
    z, times = circling(20, [0.0])[0], [0.07, 1.31, 2.9, 4.93]
    together = field.integrate(z, 0, times)
    for k, time in enumerate(times):
        np.testing.assert_allclose(together.z[k], field.integrate(z, 0, time).z, atol=2e-4)


def test_no_state_and_states_that_cannot_be_written(field):
    nothing = np.ones((0, 2))
    assert field(nothing, 1.0).shape == (0, 2)
    assert field.growth(nothing, 1.0).shape == (0,)
    assert field.integrate(nothing, 1, [2, 3]).z.shape == (2, 0, 2)
    z = np.ones((3, 2), np.float32)
    z.flags.writeable = False
    assert np.isfinite(field(z, 1.0)).all()
