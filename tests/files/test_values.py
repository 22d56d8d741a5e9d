"""Categories of columns as plain data."""

import datetime

import numpy as np
import pandas as pd
import pytest
import scvi

from lucidvi.atlas import Reference
from lucidvi.errors import FileError
from lucidvi.files._values import plain_registry
from lucidvi.model import SCVI

KINDS = {
    "intervals": pd.cut(np.arange(40), 2),
    "dates": pd.to_datetime(["2024-01-01", "2024-02-01 10:00"] * 20, format="ISO8601"),
    "periods": pd.PeriodIndex(["2024-01", "2024-02"] * 20, freq="M"),
    "timedeltas": pd.to_timedelta([1, 2] * 20, unit="h"),
    "Python's dates": np.array([datetime.date(2024, 1, 1 + i % 2) for i in range(40)]),
}


def registry(categories):
    states = {
        "batch": {"categorical_mapping": np.asarray(categories), "original_key": "day"},
        "extra_categorical_covs": {"mappings": {"site": np.asarray(categories)}},
        "X": {},
    }
    fields = {key: {"state_registry": state} for key, state in states.items()}
    return {"field_registries": fields, "setup_args": {}}


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_dates_and_intervals_are_their_text(values):
    categories = pd.Series(values).astype("category").cat.categories
    states = plain_registry(registry(categories))["field_registries"]
    expected = [str(value) for value in categories]
    assert list(states["batch"]["state_registry"]["categorical_mapping"]) == expected
    assert list(states["extra_categorical_covs"]["state_registry"]["mappings"]["site"]) == expected


@pytest.mark.parametrize("categories", [[1, 2], [0.5, 1.5], [True, False], ["a", "b"]])
def test_numbers_and_text_stay(categories):
    states = plain_registry(registry(categories))["field_registries"]
    kept = states["batch"]["state_registry"]["categorical_mapping"]
    assert kept.dtype == np.asarray(categories).dtype


def test_what_cannot_be_saved_is_named():
    sets = np.empty(2, dtype=object)
    sets[:] = [frozenset("a"), frozenset("b")]
    with pytest.raises(FileError, match=r'adata.obs\["day"\].*builtins.frozenset') as raised:
        plain_registry(registry(sets))
    assert 'adata.obs["day"] = adata.obs["day"].astype(str)' in raised.value.remedy


@pytest.mark.parametrize("values", list(KINDS.values())[:2], ids=list(KINDS)[:2])
def test_a_model_of_scvi_tools_with_them_is_saved_and_mapped_onto(make_adata, tmp_path, values):
    adata = make_adata(40)
    adata.obs["batch"] = values
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    theirs = scvi.model.SCVI(adata, n_hidden=8, n_latent=2)
    theirs.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    model = SCVI.from_scvi_model(theirs)
    model.save(str(tmp_path / "model"))
    loaded = SCVI.load(str(tmp_path / "model"), adata=adata.copy(), accelerator="cpu")
    right = model.get_latent_representation()
    np.testing.assert_allclose(loaded.get_latent_representation(), right, rtol=1e-5)
    out = Reference.from_model(model, "label").map(adata.copy())
    assert len(out.uns["lucidvi"]["new_batches"]) == 0
