"""Genes along time: lines are right where the answer is known, and bands as wide as said."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.sparse import csr_matrix

from lucidvi import pl
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.pl._along_time import BAND, MOST_DOTS, smooth

RNG = np.random.default_rng(0)
TIME = RNG.uniform(0, 10, 500)
EXPRESSION = pd.DataFrame(
    {"flat": np.ones(500), "rising": TIME, "wave": np.sin(TIME) + RNG.normal(size=500) / 4}
)
LABELS = np.where(TIME < 5, "early", "late").astype(object)


def line(ax, i=0):
    x, y = ax.lines[i].get_xydata().T
    return x[np.isfinite(y)], y[np.isfinite(y)]


def test_straight_lines_are_met():
    figure = pl.along_time(TIME, EXPRESSION, ["flat", "rising"])
    flat, rising = figure.axes
    np.testing.assert_allclose(line(flat)[1], 1)
    x, y = line(rising)
    np.testing.assert_allclose(y, x, atol=1e-9)
    assert [ax.get_title() for ax in figure.axes] == ["flat", "rising"]
    assert len(x) > 150
    assert TIME.min() <= x[0] < 0.3
    assert 9.7 < x[-1] <= TIME.max()


def test_a_wave():
    x, y = line(pl.along_time(TIME, EXPRESSION, "wave").axes[0])
    assert np.abs(y - np.sin(x))[5:-5].max() < 0.25


def test_the_band_covers_the_truth():
    """Of many data sets, 95 %, with noise that depends on time."""
    rng, at = np.random.default_rng(0), np.linspace(0.2, 0.8, 7)
    inside = []
    for _ in range(300):
        time = rng.uniform(0, 1, 400)
        y = 2 * time + rng.normal(size=400) * (0.2 + time)
        mean, se = smooth(time, y, np.ones(400), at, 0.1)
        inside.append(np.abs(mean - 2 * at) < BAND * se)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_it_is_the_weighted_straight_line():
    """Against a least squares fit at each time."""
    rng = np.random.default_rng(0)
    time, y, weight = rng.uniform(0, 1, 60), rng.normal(size=60), rng.uniform(0, 1, 60)
    at = np.array([0.3, 0.5])
    mean, _ = smooth(time, y, weight, at, 0.2)
    for t, m in zip(at, mean, strict=True):
        w = np.sqrt(weight * np.exp(-0.5 * ((time - t) / 0.2) ** 2))
        design = np.column_stack([np.ones(60), time - t])
        assert m == pytest.approx(np.linalg.lstsq(design * w[:, None], y * w)[0][0])


def test_a_line_for_each_group():
    figure = pl.along_time(TIME, EXPRESSION, ["rising"], LABELS)
    ax = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["early", "late"]
    assert line(ax, 0)[0].max() <= 5 <= line(ax, 1)[0].min()
    alone = pl.along_time(TIME[TIME < 5], EXPRESSION[TIME < 5], ["wave"], bandwidth=0.1)
    both = pl.along_time(TIME, EXPRESSION, ["wave"], LABELS)
    x, y = line(both.axes[0])
    np.testing.assert_allclose(np.interp(x, *line(alone.axes[0])), y, atol=0.02)


def test_weights_are_those_of_a_table():
    labels = pl.along_time(TIME, EXPRESSION, ["wave"], LABELS)
    table = pd.DataFrame({"early": TIME < 5, "late": TIME >= 5}, dtype=float)
    weights = pl.along_time(TIME, EXPRESSION, ["wave"], table)
    for i in range(2):
        for one, other in zip(line(labels.axes[0], i), line(weights.axes[0], i), strict=True):
            np.testing.assert_array_equal(one, other)
    # Of groups that cannot be told apart, the lines are one.
    same = pl.along_time(TIME, EXPRESSION, ["wave"], pd.DataFrame(np.full((500, 2), 0.5)))
    one, other = line(same.axes[0], 0), line(same.axes[0], 1)
    np.testing.assert_array_equal(one, other)


def test_cells_that_are_left_out():
    time, groups = TIME.copy(), LABELS.copy()
    time[:100] = np.nan
    groups[100:200] = None
    figure = pl.along_time(pd.Series(time), EXPRESSION, "wave", groups)
    kept = pl.along_time(TIME[200:], EXPRESSION[200:], "wave", LABELS[200:])
    assert len(figure.axes[0].lines) == 2
    assert abs(line(figure.axes[0])[1].mean() - line(kept.axes[0])[1].mean()) < 0.05
    assert len(figure.axes[0].collections[0].get_offsets()) == 400
    table = pd.DataFrame(
        {"a": np.where(TIME < 3, np.nan, 1.0), "b": np.where(TIME < 3, np.nan, 0)}
    )
    assert line(pl.along_time(TIME, EXPRESSION, "wave", table).axes[0])[0].min() >= 3


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, lambda x: np.asarray(x, np.float32)])
def test_forms(form):
    expected = pl.along_time(TIME, EXPRESSION, list(EXPRESSION))
    figure = pl.along_time(TIME, form(EXPRESSION.to_numpy()), list(EXPRESSION))
    for ax, other in zip(figure.axes, expected.axes, strict=True):
        np.testing.assert_allclose(line(ax)[1], line(other)[1], atol=1e-5)


@pytest.mark.parametrize("n", [1, 4, 6])
@pytest.mark.parametrize("groups", [None, LABELS])
def test_panels(n, groups):
    names = [f"Gene{i}" for i in range(n)]
    figure = pl.along_time(TIME, RNG.normal(size=(500, n)), names, groups)
    assert isinstance(figure, Figure)
    assert figure is plt.gcf()
    figure.savefig(io.BytesIO())
    shown = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in shown] == names
    assert sum(ax.get_xlabel() == "Time" for ax in shown) == min(n, 4)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= box.x0 < box.x1 <= width + 0.01
    assert 0 <= box.y0 < box.y1 <= height + 0.01
    sizes = {text.get_fontsize() for text in figure.findobj(plt.Text) if text.get_text()}
    assert min(sizes) >= plt.rcParams["font.size"]


def test_few_and_many_cells():
    for n in (2, 10, 20_000):
        time = np.linspace(0, 1, n)
        figure = pl.along_time(time, time[:, None], ["a"])
        figure.savefig(io.BytesIO())
        assert len(figure.axes[0].collections[0].get_offsets()) == min(n, MOST_DOTS)
    figure = pl.along_time(np.repeat([0.0, 1.0], 20), np.arange(40.0), "a")
    assert np.nanmin(figure.axes[0].lines[0].get_ydata()) == pytest.approx(9.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TIME, EXPRESSION[:5], ["wave"]), "`expression` has the shape .5, 1., and there are 500"),
        ((TIME, EXPRESSION.to_numpy(), ["wave"]), "`expression` has the shape .500, 3."),
        ((TIME, EXPRESSION * np.nan, ["wave"]), "`expression` is not finite in 1 genes, 'wave'"),
        ((TIME * np.nan, EXPRESSION, ["wave"]), "`time` is known of 0 of 500"),
        ((np.ones(500), EXPRESSION, ["wave"]), "`time` is known of 500 of 500 cells, and is one"),
        ((TIME, EXPRESSION, ["wave"], LABELS[:3]), "`groups` has 3 rows"),
        ((TIME, EXPRESSION, ["wave"], np.arange(500)), "`groups` has 500 groups"),
        ((TIME, EXPRESSION, ["wave"], np.full(500, None)), "`groups` has 0 groups"),
        ((TIME, EXPRESSION, []), "it chooses none of the columns of `expression`"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(DataError, match=message):
        pl.along_time(*arguments)


def test_bad_names_and_bandwidths():
    with pytest.raises(MissingKeyError, match="`genes` names 1 that are no columns"):
        pl.along_time(TIME, EXPRESSION, ["waves"])
    with pytest.raises(DataError, match="`bandwidth` is 0"):
        pl.along_time(TIME, EXPRESSION, ["wave"], bandwidth=0)
