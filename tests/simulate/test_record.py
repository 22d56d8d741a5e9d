"""What was asked for survives a file."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import sparse

import lucidvi
from lucidvi.simulate._record import RECORD, recorded

ASKED = {
    "n": 3,
    "library_size": np.array([10.0, 20.0]),
    "batch": None,
    "genes": {"TRAV14/DV4": 0.0, "ISG15": 2.0},
    "cells": pd.Series(["a", "b"]),
    "names": ["x", "y"],
    "kinds": pd.Categorical(["T", "B", "T"]),
    "mask": np.array([True, False]),
    "nothing": [],
    "refined": True,
    "counts": sparse.csc_matrix(np.eye(2)),
    "adata": AnnData(np.ones((2, 3), dtype=np.float32)),
}


@pytest.fixture
def record(tmp_path):
    """Return the record that comes back from a file."""
    adata = AnnData(np.ones((2, 3), dtype=np.float32))
    assert recorded(adata, "sample_cells", ASKED, ["All is well.", "It is."]) is adata
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return read_h5ad(tmp_path / "cells.h5ad").uns[RECORD]


def test_function_version_and_assumptions(record):
    assert record["function"] == "sample_cells"
    assert record["lucidvi_version"] == lucidvi.__version__
    assert list(record["assumptions"]) == ["All is well.", "It is."]


def test_every_argument(record):
    asked = record["request"]
    assert set(asked) == set(ASKED)
    assert (asked["n"], asked["batch"], bool(asked["refined"])) == (3, "None", True)
    np.testing.assert_array_equal(asked["library_size"], [10, 20])
    assert asked["library_size"].dtype == np.float64
    assert asked["genes"] == {"TRAV14%2FDV4": 0.0, "ISG15": 2.0}
    assert list(asked["cells"]) == ["a", "b"]
    assert list(asked["names"]) == ["x", "y"]
    assert list(asked["kinds"]) == ["T", "B", "T"]
    assert list(asked["mask"]) == [True, False]
    assert len(asked["nothing"]) == 0
    np.testing.assert_array_equal(asked["counts"].toarray(), np.eye(2))
    assert asked["adata"] == "AnnData of 2 cells and 3 genes"
