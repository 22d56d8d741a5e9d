"""Counts in obsm of an AnnData: -1 and NaN were not measured, zeros are zeros."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from tests.data.mosaic.cells import (
    CELLS,
    GENES,
    PROTEINS,
    counts_of,
    joined,
    mosaic,
    one_modality,
)

from lucidvi.data import read_modalities
from lucidvi.errors import DataError, MissingKeyError

SPECIFICATION = {"rna": "rna", "prot": {"kind": "protein", "obsm": "counts"}}


def proteins():
    """Cells 3 and 4 did not measure two of the proteins, 7 and 9 none; in 0, one is zero."""
    x = counts_of(CELLS, PROTEINS, 5, float)
    x[0, 1] = 0
    measured = np.ones(x.shape, bool)
    measured[3:5, 1:3] = False
    measured[[7, 9]] = False
    return x, measured


def with_proteins(form, missing):
    adata = one_modality(CELLS, GENES, batch=["a", "b"] * 30)
    x, measured = proteins()
    adata.obsm["counts"] = form(np.where(measured, x, missing))
    return adata


def frame(x):
    return pd.DataFrame(x, index=CELLS, columns=PROTEINS)


FORMS = {
    "frame": frame,
    "integers": lambda x: frame(x).astype(np.int64),
    "nullable": lambda x: frame(x).astype("Int64"),
    "array": np.asarray,
    "float32": lambda x: x.astype(np.float32),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
}


@pytest.mark.parametrize(
    ("form", "missing"),
    [(form, missing) for form in FORMS for missing in (-1, np.nan) if form != "integers"]
    + [("integers", -1)],
)
def test_what_was_not_measured(form, missing):
    adata = with_proteins(FORMS[form], missing)
    before = adata.copy()
    got = joined(adata, SPECIFICATION, batch_key="batch")
    x, measured = proteins()
    prot = read_modalities(got)["prot"]
    np.testing.assert_array_equal(prot.panels.of(np.arange(60)), measured)
    np.testing.assert_array_equal(got.obsm["prot"].toarray(), np.where(measured, x, 0))
    names = (
        PROTEINS if form in ("frame", "integers", "nullable") else [f"prot_{i}" for i in range(5)]
    )
    assert list(prot.features) == names
    assert_same(adata.obsm["counts"], before.obsm["counts"])


def assert_same(values, before):
    """The user's own counts stay as they are."""
    if isinstance(values, pd.DataFrame):
        pd.testing.assert_frame_equal(values, before)
    else:
        dense = (x.toarray() if sparse.issparse(x) else x for x in (values, before))
        np.testing.assert_array_equal(*dense)


@pytest.mark.parametrize("names", [PROTEINS, "protein_names"])
def test_names_of_columns(names):
    adata = with_proteins(np.asarray, -1)
    adata.uns["protein_names"] = np.array(PROTEINS)
    told = {"rna": "rna", "prot": {"kind": "protein", "obsm": "counts", "names": names}}
    assert list(read_modalities(joined(adata, told))["prot"].features) == PROTEINS
    told["prot"]["names"] = ["one"] if isinstance(names, list) else "protein_nmes"
    error = DataError if isinstance(names, list) else MissingKeyError
    with pytest.raises(error, match=r"1 names|did you mean 'protein_names'|not in adata.uns"):
        joined(adata, told)


def test_counts_in_a_layer_and_names_of_cells_that_repeat():
    """Of an AnnData, rows are cells, whatever their names."""
    adata = with_proteins(frame, -1)
    adata.layers["counts"], adata.X = adata.X, np.log1p(adata.X)
    adata.obs_names = ["same"] * 60
    adata.obsm["counts"].index = adata.obs_names
    told = SPECIFICATION | {"rna": {"kind": "rna", "layer": "counts"}}
    got = joined(adata, told)
    np.testing.assert_array_equal(got.X.toarray(), adata.layers["counts"])
    assert got.obsm["prot"].shape == (60, 5)


def test_a_key_that_is_not_there():
    adata = with_proteins(frame, -1)
    with pytest.raises(MissingKeyError, match=r"names 'prot', which is not in adata.obsm") as info:
        joined(adata, {"rna": "rna", "prot": "protein"})
    assert '{"kind": "protein", "obsm": "counts"}' in info.value.remedy
    with pytest.raises(MissingKeyError, match=r"'conts'.*(?s:.*)did you mean 'counts'"):
        joined(adata, {"rna": "rna", "prot": {"kind": "protein", "obsm": "conts"}})
    with pytest.raises(DataError, match=r'takes adata\.obsm\["counts"\] for several'):
        joined(adata, SPECIFICATION | {"counts": "protein"})


def test_modalities_and_layers_of_a_mudata_that_are_not_there():
    with pytest.raises(MissingKeyError, match=r"(?s)no modality of mdata.*did you mean 'prot'"):
        joined(mosaic(), {"rna": "rna", "protein": "protein"})
    with pytest.raises(MissingKeyError, match=r'(?s)no layer of mdata\.mod\["rna"\]'):
        joined(mosaic(), {"rna": {"kind": "rna", "layer": "counts"}, "prot": "protein"})
    with pytest.raises(DataError, match="counts of a MuData are in its modalities"):
        joined(mosaic(), SPECIFICATION)


def test_one_modality_of_an_anndata():
    got = joined(AnnData(counts_of(CELLS, GENES)), {"rna": "rna"})
    assert list(read_modalities(got)) == ["rna"]
    assert "lucidvi_panel_rna" in got.obs
