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
    off, rest = found.expressed & found.misfit, found.expressed & ~found.misfit
    assert off.sum() > N_NAMED  # so that there is something to see
    assert found.expressed.sum() < len(found.gene)
    expected = {
        f"as predicted, or not surely off: {rest.sum()} genes": rest,
        f"not as predicted: {off.sum()} genes": off,
    }
    assert shown.keys() == expected.keys()
    for label, genes in expected.items():
        np.testing.assert_array_equal(
            shown[label], [found.mean_observed[genes], found.ks[genes]], label
        )
    assert (
        ax.get_title() == f"{off.sum() / found.expressed.sum():.1%} of expressed genes do not fit"
    )
    assert any((xy[1] == found.ks_min).all() for xy in drawn(ax).values())


def test_a_gene_that_is_not_significantly_off_counts_as_fitting(findings, drawn):
    found = findings["fit"]
    chosen = np.flatnonzero(found.misfit & found.expressed)[0]
    misfit = found.misfit.copy()
    misfit[chosen] = False
    changed = dataclasses.replace(found, misfit=misfit)
    (label,) = (label for label in drawn(pl.fit(changed)) if label.startswith("as predicted"))
    assert found.ks[chosen] in drawn(pl.fit(changed))[label][1]


@pytest.mark.parametrize("misfit", [0.2, 1.0])
def test_the_genes_furthest_off_are_named_without_overlap(make_findings, misfit):
    found = make_findings(misfit=misfit)["fit"]
    ax = pl.fit(found)
    ax.figure.savefig(io.BytesIO())
    off = np.flatnonzero(found.expressed & found.misfit)
    worst = off[np.argsort(-found.ks[off])][:N_NAMED]
    assert [text.get_text() for text in ax.texts] == [found.gene[gene] for gene in worst]
    assert [text.xy[1] for text in ax.texts] == [found.ks[gene] for gene in worst]
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without its line
    for above, below in itertools.pairwise(boxes):
        assert below.y1 <= above.y0 + 1  # a pixel
