"""The encoder's error, by group."""

import dataclasses

import numpy as np
import pytest

from lucidvi import pl
from lucidvi.results import GroupGap


def test_points_are_the_errors(findings):
    found = findings["amortization"]
    groups = (GroupGap("batch", "a", 30, 1.0, 1.0, 0.4), GroupGap("label", "T", 8, 1.0, 1.0, 2.5))
    ax = pl.amortization(dataclasses.replace(found, error_in_sd=0.7, groups=groups))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.7, 2.5, 0.4])
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["all cells", "label T (8)", "batch a (30)"]
    assert list(ax.lines[1].get_xdata()) == [3**0.5] * 2  # the threshold
    low, high = ax.get_xlim()
    assert low == 0
    assert high > 2.5
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # all cells on top


def test_of_many_groups_the_worst_are_shown(findings):
    groups = tuple(GroupGap("batch", str(i), 20, 1.0, 1.0, i / 10) for i in range(1, 40))
    groups += (GroupGap("label", "unknown", 20, 1.0, 1.0, float("nan")),)
    ax = pl.amortization(dataclasses.replace(findings["amortization"], groups=groups))
    assert ax.lines[0].get_xdata()[1:] == pytest.approx(np.arange(39, 27, -1) / 10)


def test_where_the_counts_determine_nothing(make_findings):
    ax = pl.amortization(make_findings(scale=1.0)["amortization"])
    assert not ax.lines
    assert "determine none" in ax.texts[0].get_text().replace("\n", " ")
