"""Zeros of a whole batch: asked about once, and then what was said."""

import logging

import numpy as np
import pandas as pd
import pytest
from tests.data.mosaic.cells import BATCHES, CELLS, GENES, PROTEINS, joined, mosaic, muon, repair

from lucidvi.data import read_modalities
from lucidvi.errors import DataError


def without(mdata, modality, feature, batch):
    cells = mdata.mod[modality]
    rows = [BATCHES[cell] == batch for cell in cells.obs_names]
    cells.X[np.flatnonzero(rows), cells.var_names.get_loc(feature)] = 0
    return mdata


def told(measured):
    return {"rna": "rna", "prot": {"kind": "protein", "measured": measured}}


def measured(cells, modality="prot"):
    """Names of the features that each batch measured."""
    one = read_modalities(cells)[modality]
    present = one.panels.present
    return {
        batch: set(
            one.features[one.panels.of(present & (cells.obs["batch"] == batch)).all(axis=0)]
        )
        for batch in sorted(set(cells.obs["batch"][present]))
    }


def test_zeros_of_a_batch_are_a_question():
    mdata = without(mosaic(), "prot", "p2", "c")
    with pytest.raises(
        DataError, match=r"'prot' has features .* whole batch.*: batch 'c' has none of 1 \('p2'\)"
    ) as info:
        joined(mdata, batch_key="batch")
    for line, expected in enumerate(({*PROTEINS}, {*PROTEINS} - {"p2"})):
        modalities = repair(info.value, line, modalities=told(None))["modalities"]
        got = joined(mdata, modalities, batch_key="batch")
        assert measured(got) == {"b": {*PROTEINS}, "c": expected}


def test_found_is_said(caplog):
    mdata = without(mosaic(), "prot", "p2", "c")
    with caplog.at_level(logging.INFO, "lucidvi"):
        joined(mdata, told("found"), batch_key="batch")
    assert "not measured there: batch 'c' has none of 1 ('p2')" in caplog.text


def test_what_is_no_question():
    """Of one batch alone; of genes; of a protein that is rare everywhere, or nowhere found."""
    mdata = without(mosaic(), "prot", "p2", "c")
    assert measured_all(joined(mdata))
    assert measured_all(joined(mosaic(), told(None), batch_key="batch"))
    assert measured_all(joined(without(mosaic(), "rna", "g2", "a"), batch_key="batch"))
    mdata = without(mdata, "prot", "p2", "b")
    assert measured_all(joined(mdata, batch_key="batch"))
    row = mdata.mod["prot"].obs_names.get_loc(CELLS[30])
    mdata.mod["prot"].X[row, 2] = 3  # once in 20 cells: a chance of .36 for none in 20
    assert measured_all(joined(mdata, batch_key="batch"))


def measured_all(cells):
    return all(one.panels.is_complete for one in read_modalities(cells).values())


GIVEN = {"b": ["p1"], "c": ["p0", "p4"]}
FRAME = pd.DataFrame(
    [[name in features for name in PROTEINS] for features in GIVEN.values()],
    index=list(GIVEN),
    columns=PROTEINS,
)


@pytest.mark.parametrize("given", [GIVEN, FRAME], ids=["names", "frame"])
def test_what_each_batch_measured(given):
    mdata = mosaic()
    got = joined(mdata, told(given), batch_key="batch")
    assert measured(got) == {batch: {*features} for batch, features in GIVEN.items()}
    of_c = (got.obs["batch"] == "c").to_numpy()
    counts = got.obsm["prot"][of_c].toarray()
    assert not counts[:, 1:4].any()  # counts of what was not measured are left out
    cells = mdata.mod["prot"][got.obs_names[of_c]]
    np.testing.assert_array_equal(counts[:, [0, 4]], cells.X[:, [0, 4]])


def test_a_batch_that_measured_nothing():
    got = joined(mosaic(), told({"b": []}), batch_key="batch")
    np.testing.assert_array_equal(
        read_modalities(got)["prot"].panels.present, got.obs["batch"] == "c"
    )


def test_of_genes_too_if_it_is_said():
    modalities = {"rna": {"kind": "rna", "measured": {"a": GENES[:3]}}, "prot": "protein"}
    got = joined(mosaic(), modalities, batch_key="batch")
    assert measured(got, "rna") == {"a": {*GENES[:3]}, "b": {*GENES}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"d": PROTEINS}, r"(?s)names the batch 'd'.*there are 'b', 'c'|'c', 'b'"),
        ({"c": ["p0", "P3"]}, r"(?s)names 'P3', which is no feature.*did you mean 'p3'"),
        ({"c": "p0"}, "is 'p0', one text"),
    ],
)
def test_what_cannot_be_meant(given, message):
    with pytest.raises(DataError, match=message):
        joined(mosaic(), told(given), batch_key="batch")


def test_batches_have_to_be_named():
    with pytest.raises(DataError, match="there is no `batch_key`"):
        joined(mosaic(), told(GIVEN))


def test_found_of_obsm_and_said():
    """What is known to be missing and what is found come together."""
    mdata = without(mosaic(), "prot", "p2", "c")
    x = mdata.mod["prot"].to_df()
    adata = muon(prot=mdata.mod["prot"]).mod["prot"]
    adata.obsm["prot"] = x.mask((adata.obs["batch"] == "b") & (np.arange(40) % 2 == 0))
    got = joined(
        adata,
        {"genes": "rna", "prot": {"kind": "protein", "measured": "found"}},
        batch_key="batch",
    )
    assert measured(got) == {"b": {*PROTEINS}, "c": {*PROTEINS} - {"p2"}}
    assert (~read_modalities(got)["prot"].panels.present).sum() == (
        (adata.obs["batch"] == "b") & (np.arange(40) % 2 == 0)
    ).sum()


@pytest.mark.parametrize("batch_key", [None, "batch"])
def test_cells_without_any_protein_are_a_question(batch_key, caplog):
    """Of cells that all have proteins, three have none, as where zeros stand for missing."""
    mdata = mosaic()
    names = CELLS[22:25]
    mdata.mod["prot"].X[mdata.mod["prot"].obs_names.get_indexer(names)] = 0
    with pytest.raises(DataError, match="not a single count in 3 of 40 cells") as info:
        joined(mdata, batch_key=batch_key)
    for line, n_cells in enumerate((40, 37)):
        with caplog.at_level(logging.INFO, "lucidvi"):
            modalities = repair(info.value, line, modalities=told(None))["modalities"]
            cells = joined(mdata, modalities, batch_key=batch_key)
        present = read_modalities(cells)["prot"].panels.present
        assert present.sum() == n_cells
        assert present[cells.obs_names.isin(names)].any() == (n_cells == 40)
    assert "3 of 40 cells without a single count are taken not to have it" in caplog.text


def test_cells_without_a_count_by_chance_are_no_question():
    mdata = mosaic()
    proteins = mdata.mod["prot"]
    proteins.X = (np.random.default_rng(0).random(proteins.shape) < 0.3).astype(np.float32)
    have_genes = proteins.obs_names.isin(mdata.mod["rna"].obs_names)
    proteins.X[~have_genes, 0] = 1
    assert (proteins.X.sum(axis=1) == 0).sum() > 2
    assert measured_all(joined(mdata))
