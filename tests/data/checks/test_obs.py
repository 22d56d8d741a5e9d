"""Names and columns given to setup_anndata: what is wrong, where, and a remedy that works."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from lucidvi.data import check_obs
from lucidvi.errors import DataError, MissingKeyError

GOOD = {
    "layer": "counts",
    "batch_key": "batch",
    "labels_key": "cell_type",
    "size_factor_key": "size",
    "categorical_covariate_keys": ["donor", "lab"],
    "continuous_covariate_keys": ["age", "mito"],
}


@pytest.fixture
def adata() -> AnnData:
    n = 8
    adata = AnnData(
        np.ones((n, 3), dtype="float32"),
        obs=pd.DataFrame(
            {
                "batch": pd.Categorical(list("aabbccdd")),
                "cell_type": ["T", "B"] * 4,
                "size": np.linspace(0.5, 2, n),
                "donor": np.repeat([1, 2], 4),
                "lab": [True, False] * 4,
                "age": np.arange(n),
                "mito": pd.array([0.5] * n, dtype="Float64"),
                "day": pd.date_range("2020-01-01", periods=n),
            },
            index=[f"cell-{i}" for i in range(n)],
        ),
        var=pd.DataFrame(index=["CD3D", "CD4", "CD8A"]),
    )
    adata.layers["counts"] = adata.X.copy()
    return adata


def data_error(adata: AnnData, **setup_args: Any) -> DataError:
    with pytest.raises(DataError) as error:
        check_obs(adata, setup_args)
    return error.value


@pytest.mark.parametrize("setup_args", [{}, dict.fromkeys(GOOD), GOOD, {"unknown": 1}])
def test_good_setups_pass(adata: AnnData, setup_args: dict[str, Any]):
    before = adata.copy()
    adata.obs_names = ["same"] * adata.n_obs
    check_obs(adata, setup_args)
    pd.testing.assert_frame_equal(
        adata.obs.reset_index(drop=True), before.obs.reset_index(drop=True)
    )


@pytest.mark.parametrize(
    ("argument", "value", "key", "close"),
    [
        ("layer", "Counts", "Counts", "counts"),
        ("batch_key", "BATCH", "BATCH", "batch"),
        ("labels_key", "celltype", "celltype", "cell_type"),
        ("size_factor_key", "sizes", "sizes", "size"),
        ("categorical_covariate_keys", ["lab", "doner"], "doner", "donor"),
        ("continuous_covariate_keys", ["Age"], "Age", "age"),
    ],
)
def test_missing_names_and_the_closest_one(
    adata: AnnData, argument: str, value: Any, key: str, close: str
):
    with pytest.raises(MissingKeyError) as error:
        check_obs(adata, {argument: value})
    problem, remedy = str(error.value).split("\nRemedy: ")
    kind = "layer in adata.layers" if argument == "layer" else "adata.obs column"
    assert problem.startswith(f"{argument}={key!r}: there is no such {kind}. There are: ")
    assert f"'{close}'" in problem
    assert remedy.startswith("did you mean")
    assert f'{argument}="{close}"' in remedy


def test_missing_name_without_a_close_one(adata: AnnData):
    with pytest.raises(MissingKeyError) as error:
        check_obs(adata, {"batch_key": "xyz"})
    assert "batch_key=None" in error.value.remedy
    del adata.layers["counts"]
    with pytest.raises(MissingKeyError, match="There are none"):
        check_obs(adata, {"layer": "counts"})


def test_long_lists_of_names_are_left_out(adata: AnnData):
    for i in range(20):
        adata.obs[f"score_{i}"] = 0.0
    with pytest.raises(MissingKeyError) as error:
        check_obs(adata, {"batch_key": "score_21"})
    assert "There are" not in str(error.value)
    assert 'batch_key="score_2"' in str(error.value)


@pytest.mark.parametrize("argument", ["categorical_covariate_keys", "continuous_covariate_keys"])
def test_string_in_place_of_a_list(adata: AnnData, argument: str):
    error = data_error(adata, **{argument: "age"})
    assert f"{argument}='age' is one string" in error.problem
    assert error.remedy == f'{argument}=["age"]'


@pytest.mark.parametrize("argument", ["batch_key", "labels_key", "size_factor_key"])
def test_list_in_place_of_a_string(adata: AnnData, argument: str):
    error = data_error(adata, **{argument: ["size", "age"]})
    assert f"{argument}=['size', 'age'] is not the name of one column" in error.problem
    assert ("categorical_covariate_keys" in error.remedy) == (argument == "batch_key")


@pytest.mark.parametrize("argument", ["categorical_covariate_keys", "continuous_covariate_keys"])
def test_column_named_twice(adata: AnnData, argument: str):
    error = data_error(adata, **{argument: ["age", "mito", "age"]})
    assert f"{argument} names 'age' 2 times" in error.problem
    assert error.remedy == f"{argument}=['age', 'mito']"


@pytest.mark.parametrize("column", ["batch", "cell_type", "donor", "lab", "age", "mito", "day"])
@pytest.mark.parametrize("argument", ["batch_key", "labels_key", "categorical_covariate_keys"])
def test_missing_categories_and_both_remedies(adata: AnnData, argument: str, column: str):
    values = adata.obs[column]
    if values.dtype.kind in "iub":
        adata.obs[column] = values.astype(object)
    adata.obs.loc[["cell-3", "cell-6"], column] = None
    setup_args = {argument: [column] if argument.endswith("keys") else column}
    error = data_error(adata, **setup_args)
    place = f'adata.obs["{column}"]'
    assert f"{argument}: {place} is missing (NaN or None) in 2 of 8 cells" in error.problem
    assert "('cell-3', 'cell-6')" in error.problem
    fill, drop = (line.split(", ", 1)[1] for line in error.remedy.split(", or "))
    filled, dropped = {"adata": adata.copy()}, {"adata": adata}
    exec(fill, filled)
    check_obs(filled["adata"], setup_args)
    assert list(filled["adata"].obs[column][["cell-3", "cell-6"]]) == ["unknown"] * 2
    exec(drop, dropped)
    check_obs(dropped["adata"], setup_args)
    assert dropped["adata"].n_obs == 6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["size", "mito"])
def test_continuous_covariate_that_is_not_finite(adata: AnnData, column: str, value: float):
    adata.obs.loc["cell-5", column] = value
    error = data_error(adata, continuous_covariate_keys=["age", column])
    assert (
        f"adata.obs[\"{column}\"] is NaN or infinite in 1 of 8 cells ('cell-5')" in error.problem
    )
    assert f'adata[np.isfinite(adata.obs["{column}"])].copy()' in error.remedy


def test_continuous_covariate_that_is_missing(adata: AnnData):
    adata.obs.loc["cell-0", "mito"] = pd.NA
    assert "'cell-0'" in data_error(adata, continuous_covariate_keys=["mito"]).problem


@pytest.mark.parametrize("column", ["cell_type", "batch", "day"])
def test_continuous_covariate_that_is_not_a_number(adata: AnnData, column: str):
    error = data_error(adata, continuous_covariate_keys=[column])
    assert f'continuous_covariate_keys: adata.obs["{column}"] has dtype' in error.problem
    assert f'categorical_covariate_keys=["{column}"]' in error.remedy


def test_numbers_kept_as_text_are_converted_by_the_remedy(adata: AnnData):
    adata.obs["size"] = adata.obs["size"].astype(str).astype("category")
    error = data_error(adata, size_factor_key="size")
    assert 'size_factor_key: adata.obs["size"] has dtype category' in error.problem
    exec(error.remedy)
    check_obs(adata, {"size_factor_key": "size"})


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_size_factors_must_be_positive_and_finite(adata: AnnData, value: float):
    adata.obs.loc["cell-2", "size"] = value
    error = data_error(adata, size_factor_key="size")
    assert f"positive and finite, but is {value:g} (the first) in 1 of 8 cells" in error.problem
    assert "'cell-2'" in error.problem
    scope = {"adata": adata, "np": np}
    exec(error.remedy.split(", ", 1)[1].split("; ")[0], scope)
    check_obs(scope["adata"], {"size_factor_key": "size"})
    assert scope["adata"].n_obs == 7


def test_genes_with_one_name(adata: AnnData):
    adata.var_names = ["CD4", "CD3D", "CD4"]
    error = data_error(adata)
    assert "adata.var_names has 1 names that occur more than once: 'CD4'" in error.problem
    exec(error.remedy)
    check_obs(adata, {})


def test_columns_that_scvi_tools_wrote_are_not_offered(adata):
    adata.obs["_scvi_batch"] = 0
    with pytest.raises(MissingKeyError) as error:
        check_obs(adata, {"batch_key": "_scvi_batc"})
    assert "_scvi" not in str(error.value).replace("'_scvi_batc'", "")
    check_obs(adata, {"batch_key": "_scvi_batch"})  # whoever names one gets it


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("layer", 3),
        ("layer", ["counts"]),
        ("batch_key", np.array(["batch"])),
        ("labels_key", pd.NA),
        ("size_factor_key", 0.5),
        ("categorical_covariate_keys", 0.5),
        ("categorical_covariate_keys", {"donor": 1}),
        ("continuous_covariate_keys", np.array(1)),
        ("continuous_covariate_keys", ["age", 3]),
    ],
)
def test_arguments_of_another_kind(adata: AnnData, argument: str, value: Any):
    error = data_error(adata, **{argument: value})
    assert argument in error.problem
    assert argument in error.remedy or argument == "layer"


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("size_factor_key", 1e300, "positive and finite, but is inf"),
        ("size_factor_key", 1e-300, "positive and finite, but is 0"),
        ("continuous_covariate_keys", -1e300, "NaN or too large"),
    ],
)
def test_numbers_are_those_that_the_model_reads(
    adata: AnnData, argument: str, value: float, says: str
):
    """In float32, where these are infinite or zero."""
    adata.obs["x"] = value
    assert says in data_error(adata, **{argument: "x" if "size" in argument else ["x"]}).problem


def test_values_that_are_no_categories(adata: AnnData):
    adata.obs["lists"] = pd.Series([[1]] * 8, index=adata.obs_names)
    error = data_error(adata, batch_key="lists")
    assert "holds values that are no categories, such as [1]" in error.problem
    exec(error.code[0])
    check_obs(adata, {"batch_key": "lists"})
