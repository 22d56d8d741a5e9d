"""Agreement of trainings, pair by pair."""

import dataclasses

import numpy as np

from lucidvi import pl

MEASURES = {
    "neighbours": "neighbours",
    "clusters": "clusters (ARI)",
    "subspace": "subspace (CCA)",
    "raw_axes": "raw axes (MCC)",
    "canonical_axes": "canonical (MCC)",
    "fold_changes": "fold changes",
    "top_genes": "top genes",
}


def rows(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_points_are_the_pairs(trainings, drawn):
    ax = pl.stability(trainings)
    assert rows(ax) == list(MEASURES.values())
    values, places = drawn(ax)["pair of trainings"]
    for row, name in enumerate(MEASURES):
        np.testing.assert_array_equal(values[places == row], getattr(trainings, name))
    np.testing.assert_array_equal(
        drawn(ax)["by chance"], [[trainings.chance[name] for name in MEASURES], range(7)]
    )


def test_a_mean_beyond_a_threshold_is_on_its_other_side(trainings):
    """Thresholds are drawn on the scale of the measure, not from chance to agreement."""
    lines = pl.stability(trainings).lines[2:]
    places = {name: [] for name in MEASURES}
    for line in lines:
        places[list(MEASURES)[round(line.get_ydata().mean())]].append(line.get_xdata()[0])
    assert len(lines) == 11  # two a measure, but one for canonical axes and none for raw ones
    for found in trainings.criteria:
        levels = [level for level in (found.warn, found.fail) if level is not None]
        mean = getattr(trainings, found.name).mean()
        below = sum(place < mean for place in places[found.name])
        assert below == sum(level < found.value for level in levels)
        assert len(places[found.name]) == len(levels)


def test_without_two_groups_there_are_no_fold_changes(trainings):
    nan = np.full(3, np.nan)
    found = dataclasses.replace(trainings, fold_changes=nan, top_genes=nan)
    assert rows(pl.stability(found)) == list(MEASURES.values())[:5]
