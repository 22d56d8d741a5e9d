"""A cell's batch is that of whichever modality has it; where they disagree, somebody says so."""

import numpy as np
import pandas as pd
import pytest
from tests.data.mosaic.cells import (
    BATCHES,
    CELLS,
    mosaic,
    muon,
    repair,
)

from lucidvi.data.mosaic._obs import columns_of_mudata
from lucidvi.errors import DataError

NEEDED = {"batch": "batch_key"}


def columns(mdata, **needed):
    return columns_of_mudata(mdata, list(mdata.mod), needed)


def test_types_are_those_of_the_modalities():
    mdata = mosaic()
    rna, prot = mdata.mod["rna"], mdata.mod["prot"]
    rna.obs["age"], prot.obs["age"] = 3, 3
    rna.obs["sick"], prot.obs["sick"] = True, True
    rna.obs["depth"] = np.arange(40)
    rna.obs["kind"] = pd.Categorical(["x"] * 40, categories=["y", "x"])
    prot.obs["kind"] = pd.Categorical(["x"] * 20 + ["z"] * 20, categories=["x", "z"])
    prot.obs.loc[prot.obs_names.isin(CELLS[:40]), "kind"] = "x"
    mdata = muon(rna=rna, prot=prot)  # pulls "rna:age" as Int64 with <NA>
    table = columns(mdata)
    assert list(table["batch"]) == [BATCHES[cell] for cell in mdata.obs_names]
    assert table["age"].dtype == np.int64
    assert table["sick"].dtype == bool
    assert list(table["kind"].cat.categories) == ["y", "x", "z"]
    assert "depth" not in table  # of some cells alone, under the name of the modality
    assert table["rna:depth"].isna().sum() == 20


def test_columns_that_mudata_pulled():
    mdata = mosaic()
    mdata.obs["age"] = pd.array(np.arange(60), dtype="Int64")
    mdata.obs["sick"] = pd.array([True] * 60, dtype="boolean")
    table = columns(mdata)
    assert (table["age"].dtype, table["sick"].dtype) == (np.int64, bool)


def test_modalities_that_disagree():
    mdata = mosaic()
    cell = CELLS[25]
    mdata.mod["prot"].obs.loc[cell, "batch"] = "z"
    with pytest.raises(
        DataError,
        match="batch_key='batch': cell 'cell25' is 'z' in the modality 'prot' and 'b' in the "
        "modality 'rna'; 1 cells have two values",
    ):
        columns(mdata, batch="batch_key")
    table = columns(mdata)  # nobody needs it
    assert "batch" not in table
    assert table.loc[cell, "prot:batch"] == "z"
    assert table.loc[cell, "rna:batch"] == "b"


@pytest.mark.parametrize(("line", "value"), [(0, "b"), (1, "q")])
def test_modalities_and_mdata_that_disagree(line, value):
    mdata = mosaic()
    mdata.obs["batch"] = [BATCHES[c] for c in mdata.obs_names]
    mdata.obs.loc[CELLS[25], "batch"] = "q"
    mdata.mod["prot"].obs = mdata.mod["prot"].obs[[]]
    with pytest.raises(
        DataError, match=r"'b' in the modality 'rna' and 'q' in mdata\.obs"
    ) as info:
        columns(mdata, batch="batch_key")
    repair(info.value, line, mdata=mdata)
    assert columns(mdata, batch="batch_key").loc[CELLS[25], "batch"] == value


def test_a_column_that_is_out_of_date():
    mdata = mosaic()
    mdata.obs = mdata.obs[[]]
    mdata.mod["rna"].obs["batch"] = mdata.mod["prot"].obs["batch"] = "new"
    message = (
        r"\"rna:batch\"\] is out of date: cell 'cell0' is 'a' there and 'new' in the modality"
    )
    for key in ("batch", "rna:batch"):
        data = mdata if key == "batch" else muon(rna=mdata.mod["rna"])
        data.obs["rna:batch"] = [BATCHES[c] for c in data.obs_names]
        with pytest.warns(UserWarning, match=message):
            table = columns(data, **{key: "batch_key"})
        assert (table[key] == "new").all()
    mdata.pull_obs("batch")
    assert (columns(mdata, batch="batch_key")["batch"] == "new").all()


def test_a_column_of_one_modality_alone():
    mdata = mosaic()
    with pytest.raises(DataError, match=r"in 20 of 60 cells.*'prot' has a column") as info:
        columns(mdata, **{"rna:batch": "batch_key"})
    assert repair(info.value)["batch_key"] == "batch"


def test_columns_that_are_not_pulled():
    """As from mudata 0.4 on."""
    mdata = mosaic()
    mdata.obs = mdata.obs[[]]
    table = columns(mdata, batch="batch_key")
    assert list(table["batch"]) == [BATCHES[c] for c in mdata.obs_names]
