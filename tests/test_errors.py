"""Errors read as text, are what Python calls such errors, and survive a worker process."""

import pickle
from typing import Any

import numpy as np
import pytest

from lucidvi.errors import (
    DataError,
    GeneMismatchError,
    LucidVIError,
    MissingKeyError,
    first_few,
    plain,
)


@pytest.mark.parametrize("kind", [LucidVIError, DataError, MissingKeyError, GeneMismatchError])
def test_text(kind: type[LucidVIError]):
    error = kind("x='a' is wrong.", remedy="use 'b'")
    assert str(error) == "x='a' is wrong.\nRemedy: use 'b'"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)


def test_builtin_kinds():
    assert issubclass(DataError, ValueError)
    assert issubclass(MissingKeyError, KeyError)
    assert issubclass(GeneMismatchError, DataError)


def test_first_few():
    assert first_few(["a", "b"]) == "'a', 'b'"
    assert first_few("abcdef") == "'a', 'b', 'c', 'd', 'e', ..."
    assert first_few("abcde") == "'a', 'b', 'c', 'd', 'e'"


@pytest.mark.parametrize(
    "value",
    [
        np.str_("A2M"),
        np.str_("it's"),
        np.str_('a "b" (c)'),
        np.bytes_(b"x"),
        np.float32(0.5),
        np.float64("nan"),
        np.float64("-inf"),
        np.float16(1e-5),
        np.int8(-3),
        np.uint64(2**63),
        np.bool_(True),
        np.False_,
    ],
)
def test_values_of_numpy_are_shown_as_python_shows_them(value: Any):
    # Of floating-point numbers the shortest digits that tell values of their type apart.
    expected = str(value) if isinstance(value, np.floating) else repr(value.item())
    error = DataError(
        f"`x` is {value!r}, of {[value]!r}.", remedy=f"x={value!r}", code=[repr(value)]
    )
    assert error.problem == f"`x` is {expected}, of [{expected}]."
    assert error.remedy == f"x={expected}"
    assert error.code == (expected,)


def test_code_is_left_as_it_is():
    code = "x = x.astype(np.float32); np.isfinite(x); np.float32(adata.X); np.True_division"
    assert plain(code) == code
    assert plain(repr(np.datetime64("2024-01-02"))) == "'2024-01-02'"
