"""Categories that a file cannot hold are refused at setup; names of cells are asked about."""

import datetime
import decimal
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from lucidvi.data.checks._categories import check_categories
from lucidvi.errors import DataError
from lucidvi.model import SCVI

N = 60
DAYS = pd.to_datetime(["2024-01-01", "2024-02-01"] * (N // 2))
ARGUMENTS = {
    "batch_key": "column",
    "labels_key": "column",
    "categorical_covariate_keys": ["column"],
}
with_all_arguments = pytest.mark.parametrize(("argument", "value"), ARGUMENTS.items())


def cells(values: Any) -> AnnData:
    x = 1 + np.random.default_rng(0).poisson(2.0, (N, 8)).astype("float32")
    obs = pd.DataFrame({"column": values}, index=[f"cell{i}" for i in range(N)])
    return AnnData(x, obs=obs)


STRANGE = {
    "intervals": pd.cut(np.arange(N), 3),
    "dates": pd.to_datetime(["2024-01-01", "2024-02-01"] * (N // 2)),
    "dates as categories": pd.Categorical(pd.to_datetime(["2024-01-01", "2024-02-01"] * (N // 2))),
    "dates with a zone": pd.to_datetime(["2024-01-01", "2024-02-01"] * (N // 2)).tz_localize(
        "UTC"
    ),
    "dates of Python": [datetime.date(2024, 1, 1), datetime.date(2024, 2, 1)] * (N // 2),
    "periods": pd.PeriodIndex(["2024-01", "2024-02"] * (N // 2), freq="M"),
    "durations": pd.to_timedelta([1, 2] * (N // 2), unit="D"),
    "tuples": [("a", 1), ("b", 2)] * (N // 2),
    "tuples as categories": pd.Categorical([("a", 1), ("b", 2)] * (N // 2)),
    "frozen sets": [frozenset("a"), frozenset("b")] * (N // 2),
    "decimals": [decimal.Decimal("1.5"), decimal.Decimal(2)] * (N // 2),
}


@with_all_arguments
@pytest.mark.parametrize("kind", STRANGE)
def test_what_cannot_be_saved_is_refused_and_made_text(
    kind: str, argument: str, value: Any, tmp_path
):
    adata = cells(STRANGE[kind])
    with pytest.raises(
        DataError, match=f'{argument}: adata.obs."column". has categories'
    ) as error:
        SCVI.setup_anndata(adata, **{argument: value})
    assert "_scvi_batch" not in adata.obs
    n_values = adata.obs["column"].nunique()
    exec(error.value.code[0])
    assert adata.obs["column"].nunique() == n_values
    SCVI.setup_anndata(adata, **{argument: value})
    SCVI(adata, n_latent=2).save(str(tmp_path / "model"), save_anndata=True)
    SCVI.load(str(tmp_path / "model"))


STORED = {
    "text": ["a", "b"] * (N // 2),
    "categories": pd.Categorical(["a", "b"] * (N // 2)),
    "string": pd.array(["a", "b"] * (N // 2), dtype="string"),
    "integers": [1, 2] * (N // 2),
    "Int64": pd.array([1, 2] * (N // 2), dtype="Int64"),
    "floats": [0.5, 1.5] * (N // 2),
    "float32 categories": pd.Categorical(np.float32([0.5, 1.5] * (N // 2))),
    "booleans": [True, False] * (N // 2),
    "boolean": pd.array([True, False] * (N // 2), dtype="boolean"),
}


@with_all_arguments
@pytest.mark.parametrize("kind", STORED)
def test_what_can_be_saved_passes(kind: str, argument: str, value: Any, tmp_path):
    adata = cells(STORED[kind])
    SCVI.setup_anndata(adata, **{argument: value})
    SCVI(adata, n_latent=2).save(str(tmp_path / "model"))
    SCVI.load(str(tmp_path / "model"), adata=cells(STORED[kind]))


IDS = {
    "text": [f"id{i}" for i in range(N)],
    "categories": pd.Categorical([f"id{i}" for i in range(N)]),
    "numbers": np.arange(N) * 1.5,
    "nearly all": [f"id{i // 2 if i < 20 else i}" for i in range(N)],
}


@with_all_arguments
@pytest.mark.parametrize("kind", IDS)
def test_names_of_cells_are_asked_about(kind: str, argument: str, value: Any):
    with pytest.warns(UserWarning, match="are these names of cells, not of groups") as caught:
        check_categories(cells(IDS[kind]), {argument: value})
    assert len(caught) == 1
    text = str(caught[0].message)
    assert f"{argument}: " in text
    assert f"in {N} cells" in text
    numbers = kind == "numbers" and argument != "labels_key"
    assert ('continuous_covariate_keys=["column"]' in text) == numbers


@pytest.mark.parametrize(
    "values", [np.arange(N) // 2, np.arange(N) // 3, np.zeros(N), [f"b{i % 30}" for i in range(N)]]
)
def test_groups_are_not_asked_about(values: Any):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_categories(cells(values), {"batch_key": "column"})
        check_categories(cells(np.arange(N))[:3].copy(), {"batch_key": "column"})


def test_names_of_cells_of_which_one_is_missing():
    adata = cells(pd.Categorical([None, *(f"id{i}" for i in range(1, N))]))
    with pytest.raises(DataError, match=r"missing .* have 59 values: are these names of cells"):
        SCVI.setup_anndata(adata, batch_key="column")


@pytest.mark.filterwarnings("ignore:Category .* fewer than 3 cells")
def test_a_model_is_not_asked_twice(tmp_path):
    adata = cells(IDS["text"])
    with pytest.warns(UserWarning, match="names of cells"):
        SCVI.setup_anndata(adata, batch_key="column")
    model = SCVI(adata, n_latent=2)
    model.save(str(tmp_path / "model"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SCVI.load(str(tmp_path / "model"), adata=cells(IDS["text"]))
    assert not [w for w in caught if "names of cells" in str(w.message)]
