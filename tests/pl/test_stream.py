"""Streams on an embedding: the arrows are those of the states, whatever their rotation."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from lucidvi import pl
from lucidvi.errors import DataError
from lucidvi.pl._stream import GRID, on_grid, projected

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(400, 2))
CIRCLING = np.column_stack([-Z[:, 1], Z[:, 0]])


def test_places_that_are_the_states_move_as_these():
    np.testing.assert_array_equal(projected(Z, CIRCLING, Z), CIRCLING)


def test_a_linear_embedding_moves_linearly():
    z, velocity = RNG.normal(size=(2, 300, 6))
    embedding = z @ (plane := RNG.normal(size=(6, 2)))
    arrows = projected(z, velocity, embedding)
    np.testing.assert_allclose(arrows, velocity @ plane, rtol=0.05, atol=0.05)


def test_a_rotation_of_the_states_changes_nothing():
    z, velocity = RNG.normal(size=(2, 200, 5))
    embedding = np.tanh(z[:, :2])
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    one = projected(z, velocity, embedding)
    np.testing.assert_allclose(projected(z @ turn, velocity @ turn, embedding), one, atol=1e-9)


def test_a_curved_embedding():
    """On an unrolled circle, cells that circle move straight on."""
    angle = RNG.uniform(-2, 2, 600)
    z = np.column_stack([np.cos(angle), np.sin(angle)])
    velocity = np.column_stack([-np.sin(angle), np.cos(angle)])
    arrows = projected(z, velocity, np.column_stack([angle, np.zeros(600)]))
    np.testing.assert_allclose(arrows, [[1, 0]] * 600, atol=0.05)


def test_there_is_nothing_where_there_are_no_cells():
    x, y, arrows = on_grid(Z, CIRCLING)
    assert arrows.shape == (GRID, GRID, 2)
    corner = np.isnan(arrows[0, 0]).all()
    middle = arrows[np.abs(y).argmin(), np.abs(x - 1).argmin()]
    assert corner
    np.testing.assert_allclose(middle, [0, 1], atol=0.3)


@pytest.mark.parametrize(
    "color", [None, Z[:, 0], np.where(Z[:, 0] > 0, "right", "left"), np.arange(400).astype(str)]
)
def test_it_is_drawn(color):
    ax = pl.stream(Z, CIRCLING, color=color)
    assert ax.figure is plt.gcf()
    ax.figure.savefig(io.BytesIO())
    assert ax.get_title()
    plt.close("all")


def test_given_axes_and_cells_that_are_not_known():
    given, other = Figure().subplots(1, 2)
    velocity = CIRCLING.copy()
    velocity[Z[:, 0] > 0] = np.nan
    ax = pl.stream(Z, velocity, ax=given)
    assert ax is given
    assert not other.collections
    segments = np.concatenate(ax.collections[1].get_segments())
    assert segments[:, 0].max() < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Z, CIRCLING[:3]), "`velocity` .3, 2."),
        ((np.ones((5, 3)), np.ones((5, 3))), "`z` has the shape .5, 3., and places"),
        ((Z, CIRCLING, Z[:5]), "`embedding` has the shape .5, 2."),
        ((Z * np.nan, CIRCLING), "not finite"),
        ((Z, CIRCLING * np.nan), "No velocity is known"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(DataError, match=message):
        pl.stream(*arguments)
