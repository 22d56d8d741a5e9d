"""What every plot does, whatever the finding."""

import dataclasses
import io

import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lucidvi import pl, results
from lucidvi.results import Criterion, Finding, Skipped

NAMES = [
    "collapse",
    "identifiability",
    "amortization",
    "fit",
    "confounding",
    "modalities",
    "direction",
    "stability",
]
CLASSES = {
    cls.name: cls
    for cls in map(vars(results).get, results.__all__)
    if isinstance(cls, type) and issubclass(cls, Finding) and hasattr(cls, "name")
}


def test_there_is_a_plot_of_each_finding():
    assert list(pl.PLOTS) == NAMES
    assert set(NAMES) == set(CLASSES)
    assert set(NAMES) <= set(pl.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_new_axes(findings, name):
    ax = pl.PLOTS[name](findings[name])
    assert isinstance(ax, Axes)
    assert ax.figure is plt.gcf()
    assert ax.get_title()
    assert ax.get_xlabel()
    drawn = io.BytesIO()
    ax.figure.savefig(drawn)
    drawn_box, (width, height) = ax.figure.get_tightbbox(), ax.figure.get_size_inches()
    assert 0 <= drawn_box.x0 < drawn_box.x1 <= width + 0.01
    assert 0 <= drawn_box.y0 < drawn_box.y1 <= height + 0.01
    sizes = {text.get_fontsize() for text in ax.figure.findobj(plt.Text) if text.get_text()}
    assert min(sizes) >= plt.rcParams["font.size"]


@pytest.mark.parametrize("name", NAMES)
def test_given_axes(findings, name, drawn):
    given, other = Figure().subplots(1, 2)
    ax = pl.PLOTS[name](findings[name], ax=given)
    assert ax is given
    assert not other.lines
    assert given.get_legend() is not None
    new = drawn(pl.PLOTS[name](findings[name]))
    assert drawn(ax).keys() == new.keys()
    for label, points in drawn(ax).items():
        assert (points == new[label]).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_skipped_is_said(name):
    ax = pl.PLOTS[name](Skipped.of(CLASSES[name], "There are no counts."))
    assert [text.get_text() for text in ax.texts] == ["There are no counts."]
    assert not ax.lines
    ax.figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    "kwargs",
    [
        {"worth": (30.0,)},
        {"worth": (0.0, 0.0, 0.0)},
        {"worth": tuple(range(60, 0, -1))},
        {"n_batches": 1},
        {"n_batches": 40},
        {"misfit": 1.0},
        {"misfit": 0.0},
        {"n_genes": 3},
        {"scale": 1.0},
        {"names": " $a_$ <b>&\n\x01" + 50 * "long"},
    ],
    ids=lambda kwargs: next(iter(kwargs)),
)
def test_extremes_are_drawn(make_findings, kwargs):
    for name, finding in make_findings(**kwargs).items():
        pl.PLOTS[name](finding).figure.savefig(io.BytesIO(), format="svg")


def test_verdict_of_all_skipped_criteria(findings):
    """A finding whose criteria were all skipped says why, as one that was skipped."""
    reason = Criterion.skipped("used", "No reason.")
    found = dataclasses.replace(findings["collapse"], criteria=(reason,))
    assert pl.collapse(found).texts[0].get_text() == "No reason."
