"""Arguments as people write them: choices, numbers, names, columns."""

import numpy as np
import pandas as pd
import pytest

from lucidvi.checks import (
    check_choice,
    check_column,
    check_share,
    check_whole,
    listed,
    nearest,
    positive_numbers,
    user_columns,
)
from lucidvi.errors import DataError, MissingKeyError

GENES = pd.Index(["CD3D", "CD3E", "MS4A1", "NKG7"])


def test_nearest_names_whatever_their_case():
    assert nearest("ms4a1", GENES) == ["MS4A1"]
    assert nearest("zzz", GENES) == []


def test_a_choice():
    check_choice("method", "iwae", ["iwae", "ais"])
    with pytest.raises(DataError, match=r"`method` is 'iwe'"):
        check_choice("method", "iwe", ["iwae", "ais"])


@pytest.mark.parametrize("value", [True, 2.0, "2", None, np.float64(3), 1, -4])
def test_what_is_no_whole_number_of_at_least_two(value: object):
    with pytest.raises(DataError, match="`n` is") as error:
        check_whole("n", value, least=2)
    assert "at least 2" in error.value.remedy


def test_whole_numbers():
    for value in (0, 7, np.int64(3), np.uint8(2)):
        check_whole("n", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, "half", None, True])
def test_what_is_no_share(value: object):
    with pytest.raises(DataError, match="`share` is"):
        check_share("share", value)


def test_shares_with_and_without_their_ends():
    for value in (0, 0.5, np.float32(0.25), 1):
        check_share("share", value)
    check_share("rate", 0.05, between=True)
    for value in (0, 1.0):
        with pytest.raises(DataError, match="`rate` is"):
            check_share("rate", value, between=True)


def test_positive_numbers_of_cells():
    assert positive_numbers("depth", 2, 3).tolist() == [2, 2, 2]
    assert positive_numbers("depth", [1, 2.5, 3], 3).tolist() == [1, 2.5, 3]
    for value, message in (
        ([1, 2], r"the shape \(2,\), but there are 3 cells"),
        ([1, 0, -1], "is 0.0 in 2 of 3 cells, 1 first"),
        (np.inf, "`depth` is inf"),
        ("deep", "`depth` is 'deep'"),
        (None, "`depth` is None"),
    ):
        with pytest.raises(DataError, match=message):
            positive_numbers("depth", value, 3)


def test_a_column_that_does_not_exist():
    obs = pd.DataFrame({"donor": [1], "batch": [2]})
    check_column(obs, "donor_key", "donor")
    with pytest.raises(MissingKeyError, match="`donor_key` is 'doner'") as error:
        check_column(obs, "donor_key", "doner")
    assert "did you mean 'donor'" in error.value.remedy
    with pytest.raises(MissingKeyError, match="`donor_key` is 3") as error:
        check_column(obs, "donor_key", 3)
    assert "'donor', 'batch'" in error.value.remedy


def test_names_that_exist_are_listed():
    assert listed([]) == "none"
    assert listed("ab") == "'a', 'b'"
    assert listed(range(30)).endswith("'19', ...")


def test_columns_of_users_keep_their_names():
    obs = pd.DataFrame([[0, 1, 2]], columns=["batch", "_scvi_batch", 7])
    assert user_columns(obs.columns) == ["batch", 7]
    assert list(obs[user_columns(obs.columns)]) == ["batch", 7]
    with pytest.raises(MissingKeyError, match="'batch'"):
        check_column(obs, "groupby", "bath")
