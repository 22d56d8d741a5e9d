"""Fates: places and colours are those of the probabilities."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lucidvi import pl
from lucidvi.errors import DataError
from lucidvi.pl._fates import LOST, SPREAD, UNDECIDED, mixed

RNG = np.random.default_rng(0)
THREE = pd.DataFrame(RNG.dirichlet(np.full(3, 0.5), 300), columns=["red", "white", "grey cells"])
TWO = pd.DataFrame({"left": THREE["red"], "right": 1 - THREE["red"]})
PLACES = RNG.normal(size=(300, 2))


def named(ax):
    """Places of the names that are written on the axes."""
    return {text.get_text(): np.array(text.get_position()) for text in ax.texts}


def inside(figure):
    figure.savefig(io.BytesIO())
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return 0 <= box.x0 < box.x1 <= width + 0.01 and 0 <= box.y0 < box.y1 <= height + 0.01


@pytest.mark.parametrize("n", [3, 4, 7])
def test_decided_cells_are_at_their_corner_and_undecided_ones_amidst(n):
    fates = pd.DataFrame(
        np.vstack([np.eye(n), np.full((1, n), 1 / n)]), columns=list("abcdefg"[:n])
    )
    ax = pl.fates(fates)
    places = ax.collections[0].get_offsets()
    names = named(ax)
    for k in range(n):
        nearest = min(names, key=lambda name: np.linalg.norm(names[name] - places[1:][k]))
        assert nearest == "abcdefg"[k]
        assert np.linalg.norm(places[1:][k]) == pytest.approx(1, abs=SPREAD)
    assert np.linalg.norm(places[0]) <= SPREAD  # the undecided are drawn first
    assert inside(ax.figure)


def test_places_are_means_of_the_corners():
    ax = pl.fates(THREE)
    order = np.argsort(THREE.to_numpy().max(axis=1), kind="stable")
    corners = ax.lines[0].get_xydata()[:3]
    off = ax.collections[0].get_offsets() - THREE.to_numpy()[order] @ corners
    assert np.linalg.norm(off, axis=1).max() <= SPREAD
    np.testing.assert_allclose(np.linalg.norm(corners, axis=1), 1)


def test_between_two_the_place_is_the_probability():
    ax = pl.fates(TWO)
    x, y = ax.collections[0].get_offsets().T
    order = np.argsort(TWO.to_numpy().max(axis=1), kind="stable")
    np.testing.assert_allclose(x, 2 * TWO["right"][order] - 1, atol=SPREAD)
    assert 0 <= y.min() < y.max() <= 1
    assert named(ax)["left"][0] < named(ax)["right"][0]
    assert inside(ax.figure)


def test_colours():
    p = np.vstack([np.eye(3), np.full((1, 3), 1 / 3), np.full((1, 3), np.nan), [[0.98, 0.02, 0]]])
    colours = mixed(p)
    for k in range(3):
        np.testing.assert_allclose(colours[k], to_rgb(f"C{k}"))
    np.testing.assert_allclose(colours[3], to_rgb(UNDECIDED))
    np.testing.assert_allclose(colours[4], to_rgb(LOST))
    assert np.linalg.norm(colours[5] - colours[0]) < 0.1


def test_on_an_embedding():
    fates = THREE.copy()
    fates.iloc[:20] = np.nan
    ax = pl.fates(fates, PLACES)
    drawn = np.array(sorted(ax.collections[0].get_offsets().tolist()))
    np.testing.assert_allclose(drawn, sorted(PLACES.tolist()))
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["red", "white", "grey cells", "undecided", "none is reached"]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == labels
    assert inside(ax.figure)
    # Between the groups they are left out.
    assert len(pl.fates(fates).collections[0].get_offsets()) == 280


@pytest.mark.parametrize("fates", [TWO, THREE])
@pytest.mark.parametrize("embedding", [None, PLACES])
@pytest.mark.parametrize("color", [np.arange(300.0), np.arange(300).astype(str), ["x"] * 300])
def test_other_colours(fates, embedding, color):
    ax = pl.fates(fates, embedding, color)
    assert ax.figure is plt.gcf()
    assert inside(ax.figure)
    sizes = {text.get_fontsize() for text in ax.figure.findobj(plt.Text) if text.get_text()}
    assert min(sizes) >= plt.rcParams["font.size"]


def test_given_axes():
    given, other = Figure().subplots(1, 2)
    assert pl.fates(THREE, PLACES, ax=given) is given
    assert given.get_legend() is not None
    assert not other.collections


def test_many_groups_and_long_names():
    names = [f"{i} $a_$ <b>&\n" + 30 * "long" for i in range(12)]
    fates = pd.DataFrame(RNG.dirichlet(np.ones(12), 50), columns=names)
    for embedding in (None, PLACES[:50]):
        pl.fates(fates, embedding).figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((THREE.to_numpy(),), "`fates` is a ndarray"),
        ((THREE[["red"]],), "`fates` has the shape .300, 1."),
        ((THREE[:0],), "`fates` has the shape .0, 3."),
        ((THREE * np.nan,), "`fates` is NaN in all cells"),
        ((2 * THREE,), "`fates` has rows that sum to 2 to 2"),
        ((THREE, PLACES[:5]), "`embedding` has the shape .5, 2., and there are 300 cells"),
        ((THREE, None, PLACES), "`color` has the shape .300, 2."),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(DataError, match=message):
        pl.fates(*arguments)
