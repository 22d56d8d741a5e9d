"""Columns of a query as the categories of a model."""

import numpy as np
import pandas as pd
import pytest

from lucidvi.data import Column, category_codes, matched_codes
from lucidvi.errors import DataError

BATCH = Column("batch", "batch_key")


def test_codes_of_a_million_cells_cost_little():
    """What is compared are the distinct values."""
    column = pd.Series(np.arange(1_000_000) % 7).astype(float)
    codes, categories = matched_codes(column, np.arange(7).astype(str), BATCH)
    np.testing.assert_array_equal(codes, np.arange(1_000_000) % 7)
    assert list(categories) == list("0123456")


@pytest.mark.parametrize("dtype", [">i4", ">f8", "float16", "int8", "Int16", "category"])
def test_dtypes_that_pandas_cannot_sort(dtype):
    values = np.array([3, 1, 2, 1])
    column = values.astype(dtype) if dtype[0] == ">" else pd.Series(values).astype(dtype)
    codes, _ = matched_codes(column, np.array([1, 2, 3]), BATCH)
    assert list(codes) == [2, 0, 1, 0]


def test_unused_categories_are_no_new_ones():
    column = pd.Categorical(["b", "a"], categories=["x", "b", "y", "a"])
    codes, categories = matched_codes(column, np.array(["a", "b"]), BATCH, extend=True)
    assert (list(codes), list(categories)) == ([1, 0], ["a", "b"])


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize(
    ("values", "known", "message", "remedy"),
    [
        (["01", "2"], [1, 2], r"'01' \(text\), and the model has 1 \(integers\)", "{'01': '1'}"),
        (["1.0"], ["1"], r"'1.0' \(text\), and the model has '1' \(text\)", "{'1.0': '1'}"),
        ([True], ["1", "1.0"], r"True \(booleans\), which equals each", "{'True': '1'}"),
        (["1", "1.0"], [1], "both of which equal the model's 1", "{'1.0': '1'}"),
    ],
)
def test_what_may_be_meant_is_asked_about(values, known, message, remedy, extend):
    """Also where it could be taken for a new batch; the column is named, and code is said."""
    with pytest.raises(DataError, match=message) as raised:
        matched_codes(pd.Series(values), np.array(known), BATCH, extend=extend)
    assert str(raised.value).startswith('adata.obs["batch"] (batch_key)')
    code = f'adata.obs["batch"] = adata.obs["batch"].astype(str).replace({remedy})'
    assert code in raised.value.remedy


@pytest.mark.parametrize("value", [0, 0.0, False, "", "zz", np.float32(7)])
def test_what_is_unknown_is_refused(value):
    """Also the values that are false, which scvi-tools before 1.5 takes for no value."""
    with pytest.raises(DataError, match="not found in source registry: the model knows 1, 2"):
        matched_codes(pd.Series([1, value], dtype=object), np.array([1, 2]), BATCH)


@pytest.mark.parametrize("value", [2, 2.0, "2", "2.0", np.array(2.0), b"2"])
def test_an_argument(value):
    assert category_codes(value, [1, 2], "transform_batch") == 1
    several = np.repeat(value, 2) if isinstance(value, np.ndarray) else [value, value]
    assert list(category_codes(several, [1, 2], "transform_batch")) == [1, 1]


def test_an_argument_that_no_category_equals():
    with pytest.raises(DataError, match="`transform_batch` is 'lane9'") as raised:
        category_codes(["lane1", "lane9"], ["lane1", "lane2"], "transform_batch")
    assert "did you mean transform_batch='lane" in raised.value.remedy
    with pytest.raises(DataError, match="equals each of the model's") as raised:
        category_codes(True, ["1", "1.0"], "transform_batch")
    assert raised.value.remedy == "transform_batch='1'"


def test_what_is_missing():
    with pytest.raises(DataError, match=r"is missing .* in 1 cells"):
        matched_codes(pd.Series([1, np.nan]), np.array([1, 2]), BATCH, extend=True)
    with pytest.raises(DataError, match="`transform_batch` has a value that is missing"):
        category_codes([1, None], [1, 2], "transform_batch")
