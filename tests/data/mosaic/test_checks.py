"""One clear error for each thing that is wrong, and a remedy that mends it."""

import re
import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from tests.data.mosaic.cells import (
    BATCHES,
    CELLS,
    GENES,
    PROTEINS,
    counts_of,
    joined,
    mosaic,
    muon,
    one_modality,
    repair,
)

from lucidvi.data import read_modalities
from lucidvi.errors import DataError


def logged(mdata):
    rna = mdata.mod["rna"]
    rna.layers["counts"] = rna.X.copy()
    rna.X = np.log1p(1e4 * rna.X / rna.X.sum(axis=1, keepdims=True)).astype(np.float32)


def empty_cells(mdata):
    mdata.mod["rna"].X[[2, 5]] = 0


def repeated_features(mdata):
    mdata.mod["prot"].var_names = ["p0", "p1", "p1", "p2", "p3"]


def nothing_left(mdata):
    mdata.mod["prot"].X[mdata.mod["prot"].obs_names == CELLS[50]] = 0


def renamed(mdata):
    mdata.mod["prot"].obs_names = "new " + mdata.mod["prot"].obs_names


MENDED = {
    logged: r'modality \'rna\': mdata\.mod\["rna"\]\.X does not hold counts: .*log',
    empty_cells: r'\'rna\': mdata\.mod\["rna"\]\.X has 2 of 40 cells without a single count: '
    "'cell2', 'cell5'",
    repeated_features: r"modality 'prot' has 1 names of features that occur more than once: 'p1'",
    nothing_left: "1 of 60 cells have not a single count in any modality: 'cell50'",
    renamed: r'mdata\.mod\["prot"\] has 40 cells that mdata\.obs_names does not have: \'new',
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_a_remedy_mends(fault):
    mdata = mosaic()
    fault(mdata)
    with pytest.raises(DataError, match=MENDED[fault]) as info:
        joined(mdata)
    mended = repair(info.value, mdata=mdata)["mdata"]
    got = joined(mended)
    assert got.n_obs == len(mended.obs_names)


def not_a_number(mdata):
    mdata.mod["prot"].X[1, 2] = np.nan


def negative(mdata):
    mdata.mod["prot"].X[1, 2] = -3


def no_cell(mdata):
    return muon(rna=mdata.mod["rna"], prot=mdata.mod["prot"][[]].copy())


def shared_barcodes(mdata):
    return muon(rna=one_modality(["x", "x", "y"], GENES), prot=one_modality(["x", "y"], PROTEINS))


def along_features(mdata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mudata.MuData({"rna": mdata.mod["rna"], "prot": mdata.mod["prot"]}, axis=1)


REFUSED = {
    not_a_number: r"modality 'prot': mdata\.mod\[\"prot\"\]\.X holds 1 .*NaN.*\(column 2",
    negative: r"modality 'prot': mdata\.mod\[\"prot\"\]\.X holds 1 .*negative.* first is -3",
    no_cell: "modality 'prot' has no cell",
    shared_barcodes: r"(?s)1 names that occur more than once: 'x'.*index_unique",
    along_features: "axis=1",
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_refused(fault):
    mdata = mosaic()
    mdata = fault(mdata) or mdata
    with pytest.raises(DataError, match=REFUSED[fault]):
        joined(mdata)


def test_samples_that_share_barcodes():
    """mudata multiplies their rows; the remedy names the sample, and keeps what one lacks."""
    whole = {
        "rna": one_modality(CELLS[:20], GENES, 0),
        "prot": one_modality(CELLS[:20], PROTEINS, 0),
    }
    samples = {"a": whole, "b": {"rna": one_modality(CELLS[:20], GENES, 1)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = mudata.concat({name: muon(**parts) for name, parts in samples.items()})
    with pytest.raises(DataError, match=re.escape('({sample: AnnData}, index_unique="-")')):
        joined(plain, {"rna": "rna"})
    having = {
        name: {sample: parts[name] for sample, parts in samples.items() if name in parts}
        for name in whole
    }
    good = joined(
        muon(**{name: anndata.concat(one, index_unique="-") for name, one in having.items()})
    )
    assert good.n_obs == 40
    assert read_modalities(good)["prot"].panels.present.sum() == 20


def test_cells_taken_before_an_update():
    """A view has other cells in a modality that was put in another order; nothing here may."""
    mdata = mosaic()
    mdata.mod["prot"] = mdata.mod["prot"][::-1].copy()
    with pytest.raises(DataError, match=r"call update\(\) of that MuData"):
        joined(mdata[CELLS[20:30]])
    again = muon(**mdata.mod)
    assert joined(again[CELLS[20:30]]).n_obs == 10


def test_cells_without_a_count_of_proteins_are_cells():
    mdata = mosaic()
    mdata.mod["prot"].X[mdata.mod["prot"].obs_names == CELLS[25]] = 0
    got = joined(mdata)
    assert read_modalities(got)["prot"].panels.present[got.obs_names == CELLS[25]].all()


def test_counts_of_obsm():
    adata = one_modality(CELLS, GENES)
    adata.obsm["prot"] = pd.DataFrame(counts_of(CELLS, PROTEINS), index=CELLS, columns=PROTEINS)
    adata.obsm["prot"].iloc[4, 2] = -2
    with pytest.raises(
        DataError, match=r'\'prot\': adata\.obsm\["prot"\] holds 1 .*\'cell4\'.*\'p2\''
    ):
        joined(adata)
    adata.obsm["prot"] = np.log1p(counts_of(CELLS, PROTEINS))
    with pytest.raises(DataError, match=r'adata\.obsm\["prot"\] does not hold counts'):
        joined(adata)
    adata.obsm["prot"] = np.full((60, 5), -1)
    with pytest.raises(DataError, match="modality 'prot' has no cell"):
        joined(adata)


def test_cells_without_a_count_of_the_features_of_a_model():
    mdata = mosaic()
    rna = mdata.mod["rna"]
    rna.X[3] = 0
    rna.X[3, 7] = 4
    features = {"rna": GENES[:6], "prot": PROTEINS}
    with pytest.raises(
        DataError, match=r"1 of 40 cells have not a single count of.*'cell3'"
    ) as info:
        joined(mdata, features=features)
    mended = repair(info.value, mdata=mdata)["mdata"]
    assert CELLS[3] not in joined(mended, features=features).obs_names


def test_other_forms_of_counts():
    mdata = mosaic()
    want = joined(mdata)
    for form in (sparse.csc_matrix, sparse.csr_array, lambda x: x.astype(np.int64)):
        for cells in mdata.mod.values():
            cells.X = form(cells.X.toarray() if sparse.issparse(cells.X) else cells.X)
        got = joined(mdata)
        np.testing.assert_array_equal(got.X.toarray(), want.X.toarray())
        np.testing.assert_array_equal(got.obsm["prot"].toarray(), want.obsm["prot"].toarray())


def test_reads_are_told_from_fragments(recwarn):
    """Each fragment gives two reads, so that counts of reads are even but for those at the rim."""
    rng = np.random.default_rng(0)
    for mean in (0.05, 0.5, 3.0, 20.0):
        fragments = sparse.csr_matrix(rng.poisson(mean, (60, 200)).astype(np.float32))
        fragments[:, 0] = 1
        mdata = mosaic()
        mdata.mod["atac"] = AnnData(fragments, obs=pd.DataFrame(index=CELLS))
        mdata.mod["atac"].obs["batch"] = list(BATCHES.values())
        mdata.update()
        kinds = {"rna": "rna", "prot": "protein", "atac": "accessibility"}
        joined(mdata, kinds)
        assert not [w for w in recwarn if "counts of reads" in str(w.message)], mean
        reads = 2 * fragments
        reads.data -= rng.random(reads.nnz) < 0.1
        mdata.mod["atac"].X = reads
        with pytest.warns(UserWarning, match="counts of reads") as caught:
            joined(mdata, kinds)
        joined(mdata, kinds | {"atac": {"kind": "accessibility", "likelihood": "bernoulli"}})
        said = next(str(w.message) for w in caught if "counts of reads" in str(w.message))
        exec(said.split("sparse: ")[1], {"mdata": mdata, "np": np})
        np.testing.assert_array_equal(mdata.mod["atac"].X.toarray(), fragments.toarray())
        recwarn.clear()
