"""Batch and depth against permutations."""

import numpy as np
import pytest

from lucidvi import pl


def rows(ax):
    return [tick.get_text().replace("\n", " ") for tick in ax.get_yticklabels()]


def test_points_are_the_shares(findings, drawn):
    found = findings["confounding"]
    ax = pl.confounding(found)
    told = ["batch, by neighbours", "depth, by neighbours", "depth, share of latent space"]
    assert rows(ax) == told
    values = [found.batch_excess, found.library_excess, found.library_latent_share]
    np.testing.assert_array_equal(drawn(ax)["this model"], [values, [0, 1, 2]])
    shares, places = drawn(ax)["permuted cells"]
    assert (np.bincount(places.astype(int)) == [200, 200]).all()
    # The values shown are (score - chance) / (1 - chance), turned back here.
    for row, null, chance in (
        (0, found.batch_null, found.batch_chance),
        (1, found.library_null, found.library_chance),
    ):
        np.testing.assert_allclose(shares[places == row] * (1 - chance) + chance, null)
    low, high = ax.get_xlim()
    assert low < min([*values, *shares])
    assert high > 1


def test_thresholds_are_those_of_the_finding(findings):
    found = findings["confounding"]
    rows = [criterion.name for criterion in found.criteria]
    drawn = {
        (rows[round(line.get_ydata().mean())], line.get_xdata()[0])
        for line in pl.confounding(found).lines[2:]
    }
    levels = {(c.name, level) for c in found.criteria for level in (c.warn, c.fail)}
    assert drawn == {(name, level) for name, level in levels if level is not None}


@pytest.mark.parametrize("n_batches", [1, 2])
def test_one_batch_has_no_row(make_findings, n_batches, drawn):
    ax = pl.confounding(make_findings(n_batches=n_batches)["confounding"])
    assert len(rows(ax)) == n_batches + 1
    assert ("batch, by neighbours" in rows(ax)) == (n_batches > 1)
    assert np.isfinite(drawn(ax)["this model"]).all()
