"""Each cell's counts are found by its name, and what it does not have is empty and said so."""

import numpy as np
import pytest
from anndata import read_h5ad, read_zarr
from scipy import sparse
from tests.data.mosaic.cells import (
    BATCHES,
    CELLS,
    GENES,
    PLAIN,
    PROTEINS,
    joined,
    mosaic,
    muon,
    one_modality,
    repair,
)

from lucidvi.data import read_modalities
from lucidvi.errors import DataError, GeneMismatchError, MissingKeyError, ModelTypeError


def by_name(adata, cell, layer=None):
    """Counts of a cell of one modality; zeros of one that is not there."""
    if cell not in adata.obs_names:
        return np.zeros(adata.n_vars)
    return np.ravel(adata[cell].X if layer is None else adata[cell].layers[layer])


def assert_cells_by_name(got, mdata):
    for position, cell in enumerate(mdata.obs_names):
        np.testing.assert_array_equal(
            got.X[position].toarray().ravel(), by_name(mdata.mod["rna"], cell)
        )
        np.testing.assert_array_equal(
            got.obsm["prot"][position].toarray().ravel(), by_name(mdata.mod["prot"], cell)
        )


def test_cells_are_paired_by_their_names():
    mdata = mosaic()
    got = joined(mdata, batch_key="batch")
    assert list(got.obs_names) == list(mdata.obs_names)
    assert_cells_by_name(got, mdata)
    assert list(got.obs["batch"]) == [BATCHES[cell] for cell in got.obs_names]
    for counts in (got.X, got.obsm["prot"]):
        assert isinstance(counts, sparse.csr_matrix)
        assert counts.dtype == np.float32
    present = {name: one.panels.present for name, one in read_modalities(got).items()}
    np.testing.assert_array_equal(present["rna"], got.obs_names.isin(CELLS[:40]))
    np.testing.assert_array_equal(present["prot"], got.obs_names.isin(CELLS[20:]))


def test_a_modality_in_reverse():
    mdata = muon(rna=one_modality(CELLS, GENES), prot=one_modality(CELLS[::-1], PROTEINS))
    assert_cells_by_name(joined(mdata), mdata)
    some = mdata[CELLS[7:3:-1]]  # a view, which mudata may put in another order
    assert_cells_by_name(joined(some), some)


def test_the_first_modality_is_the_main_one():
    got = joined(mosaic(), {"prot": "protein", "rna": "rna"})
    assert list(got.var_names) == PROTEINS
    assert list(read_modalities(got)) == ["prot", "rna"]
    assert list(read_modalities(got)["rna"].features) == GENES


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")
def test_files_keep_what_was_joined(suffix, tmp_path):
    told = {
        "rna": "rna",
        "prot": {"kind": "protein", "measured": {"c": ["p0", "p3"]}, "weight": 0.5},
        "atac": "accessibility",
    }
    mdata = mosaic()
    mdata = muon(**mdata.mod, atac=one_modality(CELLS[5:9], ["chr1:1-2", "chr2:3-4"], 3))
    got = joined(mdata, told, batch_key="batch")
    getattr(got, f"write_{suffix}")(tmp_path / "cells")
    back = {"h5ad": read_h5ad, "zarr": read_zarr}[suffix](tmp_path / "cells")
    before, after = read_modalities(got), read_modalities(back)
    assert list(after) == ["rna", "prot", "atac"]
    for name, one in before.items():
        other = after[name]
        assert one.registry() == other.registry()
        assert (one.is_main, one.needs_counts) == (other.is_main, other.needs_counts)
        every = np.arange(60)
        np.testing.assert_array_equal(one.panels.of(every), other.panels.of(every))
        np.testing.assert_array_equal(one.counts(got).toarray(), other.counts(back).toarray())
    assert after["prot"].specification["measured"] == {"c": ["p0", "p3"]}
    assert after["prot"].panels.of(got.obs_names == CELLS[50]).tolist() == [[1, 0, 0, 1, 0]]


def test_cells_that_were_joined_before():
    """As those that are saved with a model: what they do not have is missing, and no zero."""
    told = {"rna": "rna", "prot": {"kind": "protein", "measured": {"c": ["p0", "p3"]}}}
    once = joined(mosaic(), told, batch_key="batch")
    for modalities in (told, PLAIN):
        twice = joined(once, modalities, batch_key="batch")
        assert list(twice.obs_names) == list(once.obs_names)
        for name, one in read_modalities(once).items():
            again = read_modalities(twice)[name]
            every = np.arange(60)
            np.testing.assert_array_equal(again.panels.of(every), one.panels.of(every))
            assert list(again.features) == list(one.features)
            np.testing.assert_array_equal(
                again.counts(twice).toarray(), one.counts(once).toarray()
            )


def test_a_modality_that_was_not_joined():
    with pytest.raises(MissingKeyError, match="'atac', which is no modality of these joined"):
        joined(joined(mosaic()), {"rna": "rna", "atac": "accessibility"})


def test_what_was_said_can_be_said_again():
    told = {"rna": "rna", "prot": {"kind": "protein", "measured": {"c": ["p0", "p3"]}}}
    once = read_modalities(joined(mosaic(), told, batch_key="batch"))
    again = {name: dict(one.specification) for name, one in once.items()}
    twice = read_modalities(joined(mosaic(), again, batch_key="batch"))
    every = np.arange(60)
    np.testing.assert_array_equal(twice["prot"].panels.of(every), once["prot"].panels.of(every))
    query = muon(prot=one_modality(CELLS[:5], PROTEINS, batch=["other"] * 5))
    got = joined(query, again, batch_key="batch", features={"rna": GENES, "prot": PROTEINS})
    assert read_modalities(got)["prot"].panels.is_complete


def test_data_stay_as_they_are():
    mdata = mosaic()
    before = {name: cells.copy() for name, cells in mdata.mod.items()}
    joined(mdata, batch_key="batch").X.data[:] = -1
    for name, cells in mdata.mod.items():
        np.testing.assert_array_equal(cells.X, before[name].X)
        assert cells.obs.equals(before[name].obs)


def test_features_of_a_model():
    mdata = mosaic()
    del mdata.mod["prot"]
    mdata = muon(rna=mdata.mod["rna"])
    features = {"rna": ["g3", "other", "g0"], "prot": PROTEINS}
    got = joined(mdata, features=features)
    assert list(got.var_names) == features["rna"]
    np.testing.assert_array_equal(
        got.X[:, 0].toarray().ravel(), mdata.mod["rna"][:, "g3"].X.ravel()
    )
    modalities = read_modalities(got)
    assert modalities["rna"].panels.of([0]).tolist() == [[True, False, True]]
    assert not modalities["prot"].panels.present.any()
    assert got.obsm["prot"].shape == (40, 5)
    assert not modalities["prot"].panels.of([0]).any()


def test_a_prefix_of_all_features_is_named():
    mdata = mosaic()
    for name in mdata.mod:
        mdata.mod[name].var_names = f"{name}:" + mdata.mod[name].var_names
    with pytest.raises(
        GeneMismatchError, match=r"'rna:g0'.*the model 'g0'.*begin with 'rna:'"
    ) as info:
        joined(mdata, features={"rna": GENES, "prot": PROTEINS})
    repair(info.value, mdata=mdata)
    with pytest.raises(GeneMismatchError, match="begin with 'prot:'") as info:
        joined(mdata, features={"rna": GENES, "prot": PROTEINS})
    repair(info.value, mdata=mdata)
    assert list(joined(mdata, features={"rna": GENES, "prot": PROTEINS}).var_names) == GENES


def test_what_is_no_cells():
    with pytest.raises(ModelTypeError, match="neither a MuData nor an AnnData"):
        joined(np.zeros((3, 3)))
    with pytest.raises(DataError, match="none of the modalities 'rna', 'prot'"):
        joined(muon(other=one_modality(CELLS, GENES)), features={"rna": GENES, "prot": PROTEINS})
