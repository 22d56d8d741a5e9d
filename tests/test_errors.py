"""Errors read as text, are what Python calls such errors, and survive a worker process."""

import pickle

import pytest

from lucidvi.errors import DataError, GeneMismatchError, LucidVIError, MissingKeyError, first_few


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
