"""The distance of each gene's counts from their prediction."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
from matplotlib.text import Text

from lucidvi import pl
from lucidvi.pl._fit import N_NAMED


def test_points_are_the_expressed_genes(findings, drawn):
    found = findings["fit"]
    ax = pl.fit(found)
    shown = {label: xy for label, xy in drawn(ax).items() if "genes" in label}
    genes = found.genes
    off = genes["expressed"] & genes["misfit"]
    rest = genes["expressed"] & ~genes["misfit"]
    assert off.sum() > N_NAMED  # so that there is something to see
    assert genes["expressed"].sum() < len(genes)
    expected = {
        f"as predicted, or not surely off: {rest.sum()} genes": rest,
        f"not as predicted: {off.sum()} genes": off,
    }
    assert shown.keys() == expected.keys()
    for label, chosen in expected.items():
        places = genes.loc[chosen, ["mean_observed", "ks"]].T
        np.testing.assert_array_equal(shown[label], places, label)
    share = off.sum() / genes["expressed"].sum()
    assert ax.get_title() == f"{share:.1%} of expressed genes do not fit"
    assert any((xy[1] == found.ks_min).all() for xy in drawn(ax).values())


def test_a_gene_that_is_not_significantly_off_counts_as_fitting(findings, drawn):
    found = findings["fit"]
    genes = found.genes.copy()
    chosen = genes.index[genes["misfit"] & genes["expressed"]][0]
    genes.loc[chosen, "misfit"] = False
    changed = dataclasses.replace(found, genes=genes)
    (label,) = (label for label in drawn(pl.fit(changed)) if label.startswith("as predicted"))
    assert genes.loc[chosen, "ks"] in drawn(pl.fit(changed))[label][1]


@pytest.mark.parametrize("misfit", [0.2, 1.0])
def test_the_genes_furthest_off_are_named_without_overlap(make_findings, misfit):
    found = make_findings(misfit=misfit)["fit"]
    ax = pl.fit(found)
    ax.figure.savefig(io.BytesIO())
    off = found.genes[found.genes["expressed"] & found.genes["misfit"]]
    worst = off.sort_values("ks", ascending=False)[:N_NAMED]
    assert [text.get_text() for text in ax.texts] == list(worst.index)
    assert [text.xy[1] for text in ax.texts] == list(worst["ks"])
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without its line
    for above, below in itertools.pairwise(boxes):
        assert below.y1 <= above.y0 + 1  # a pixel
