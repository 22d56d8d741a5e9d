"""Expression moved by each direction."""

import dataclasses

import numpy as np
from matplotlib.colors import to_hex

from lucidvi import pl
from lucidvi.pl._axes import GREY


def test_points_are_the_eigenvalues(findings, drawn):
    found = findings["identifiability"]
    distinct = np.array([True, False, True, True])
    found = dataclasses.replace(found, distinct=distinct, distinct_axes=2, n_axes=3)
    ax = pl.identifiability(found)
    lines = drawn(ax)
    groups = {"distinct": [0, 2], "not distinct: could be mixed": [1], "not in use": [3]}
    for label, chosen in groups.items():
        expected = [np.array(chosen) + 1, found.eigenvalues[chosen]]
        np.testing.assert_array_equal(lines[label], expected)
    assert ax.get_yscale() == "log"
    assert ax.get_title() == "2 of 3 directions in use are distinct"
    (unused,) = (line for line in ax.lines if line.get_label() == "not in use")
    assert to_hex(unused.get_color()) == GREY.lower()


def test_groups_without_members_are_not_in_the_legend(findings, drawn):
    found = dataclasses.replace(findings["identifiability"], distinct=np.ones(4, bool), n_axes=4)
    assert "distinct" in drawn(pl.identifiability(found))
    assert not {"not distinct: could be mixed", "not in use"} & set(
        drawn(pl.identifiability(found))
    )


def test_directions_that_move_nothing(findings):
    found = dataclasses.replace(findings["identifiability"], eigenvalues=np.zeros(4), n_axes=0)
    ax = pl.identifiability(found)
    assert ax.get_yscale() == "linear"
    assert ax.get_title() == "No direction is in use"
