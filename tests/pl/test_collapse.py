"""The worth of each direction."""

import dataclasses

import numpy as np

from lucidvi import pl


def test_points_are_the_worths(findings, drawn):
    found = findings["collapse"]
    ax = pl.collapse(found)
    lines = drawn(ax)
    for label, worth in (
        ("worth for itself", found.worth),
        ("worth beyond the directions before", found.worth_beyond),
    ):
        np.testing.assert_array_equal(lines[label], [np.arange(1, 5), worth])
    (bars,) = ax.collections  # the standard errors
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(
        ends.T, [found.worth - found.worth_error, found.worth + found.worth_error]
    )
    assert ax.get_title() == "3 of 4 directions in use"


def test_nothing_is_cut_off(findings):
    found = findings["collapse"]
    for worth in (found.worth, -found.worth, 1e5 * found.worth, 0 * found.worth):
        low, high = pl.collapse(dataclasses.replace(found, worth=worth)).get_ylim()
        assert low < (worth - found.worth_error).min()
        assert high > (worth + found.worth_error).max()
        assert high > found.least_worth


def levels(found, drawn):
    lines = drawn(pl.collapse(found)).items()
    return {label: float(xy[1, 0]) for label, xy in lines if label.startswith("counts")}


def test_thresholds_that_coincide_are_one_line(findings, drawn):
    found = dataclasses.replace(findings["collapse"], least_worth=0.5, least_worth_beyond=0.5)
    assert levels(found, drawn) == {"counts from 0.5 nats": 0.5}
    found = dataclasses.replace(found, least_worth=2.0)
    assert levels(found, drawn) == {"counts from 2 nats": 2.0, "counts from 0.5 nats": 0.5}


def test_points_come_before_thresholds_in_the_legend(findings):
    (legend,) = pl.collapse(findings["collapse"]).figure.legends
    told = [text.get_text().split()[0] for text in legend.get_texts()]
    assert told == sorted(told, reverse=True)  # worth, worth, counts, counts
    assert told[0] == "worth"
