"""The figure of an integration shows the numbers of its table."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lucidvi import pl
from lucidvi.atlas import Integration

COLUMNS = [("bio conservation", "NMI"), ("batch correction", "iLISI"), ("total", "total")]


def result(n=3, batch_key="batch", seconds=(1.5, np.nan, 1234.0)):
    values = np.random.default_rng(0).random((n, 3))
    names = ["model", "pca", "an embedding with a long name"][:n]
    scores = pd.DataFrame(values, names, pd.MultiIndex.from_tuples(COLUMNS))
    taken = pd.Series(seconds[:n], names)
    return Integration(scores, taken, "cell_type", batch_key, 1200, 4, 2, ())


def texts(ax):
    return {(round(t.get_position()[0]), t.get_text()): t.get_fontweight() for t in ax.texts}


def test_numbers_are_those_of_the_table():
    drawn = texts(pl.integration(result()))
    scores = result().scores
    for column in range(3):
        for value in scores.iloc[column]:
            assert (column, f"{value:.2f}") in drawn
    assert (0, "1.5") in drawn
    assert (2, "1,234.0") in drawn
    assert len(drawn) == 11
    best = scores[("total", "total")].to_numpy()
    assert drawn[best.argmax(), f"{best.max():.2f}"] == "bold"
    assert drawn[best.argmin(), f"{best.min():.2f}"] == "normal"


def test_darker_is_higher():
    ax = pl.integration(result())
    dark = [1 - np.mean(patch.get_facecolor()[:3]) for patch in ax.patches]
    values = result().scores.to_numpy().T.ravel()
    assert (np.argsort(dark) == np.argsort(values)).all()


def test_new_axes():
    ax = pl.integration(result())
    assert ax.figure is plt.gcf()
    assert ax.get_xlabel() == "1,200 cells, 4 labels, 2 batches"
    rows = [tick.get_text() for tick in ax.get_yticklabels()]
    expected = "bio conservation, NMI, batch correction, iLISI, total, total, seconds"
    assert rows == expected.split(", ")
    ax.figure.savefig(io.BytesIO())
    box, (width, height) = ax.figure.get_tightbbox(), ax.figure.get_size_inches()
    assert 0 <= box.x0 < box.x1 <= width + 0.01
    assert 0 <= box.y0 < box.y1 <= height + 0.01
    sizes = {text.get_fontsize() for text in ax.figure.findobj(plt.Text) if text.get_text()}
    assert min(sizes) >= plt.rcParams["font.size"]


@pytest.mark.parametrize("n", [1, 3])
def test_given_axes_without_batches_and_seconds(n):
    given = Figure().subplots()
    ax = pl.integration(result(n, batch_key=None, seconds=(np.nan,) * 3), ax=given)
    assert ax is given
    assert ax.get_xlabel() == "1,200 cells, 4 labels"
    assert len(ax.texts) == 3 * n
