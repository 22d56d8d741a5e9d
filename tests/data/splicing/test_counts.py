"""Values as counts, of whatever type and form."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lucidvi.data.splicing._counts import integer_counts
from lucidvi.data.splicing._molecules import Layer
from lucidvi.errors import DataError

CELLS, GENES = pd.Index(["a", "b"]), pd.Index(["x", "y", "z"])


def converted(values) -> sparse.csr_matrix:
    return integer_counts(Layer("the file", values), CELLS, GENES)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint32", "int64", "uint64", "float32"]
)
@pytest.mark.parametrize(
    "form", [np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_array]
)
def test_any_type_and_form(form, dtype: str):
    values = np.array([[0, 1, 1], [1, 0, 0]], dtype=dtype)
    counts = converted(form(values))
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts.toarray(), values)


def test_largest_count():
    assert converted(np.array([[2**31 - 1.0, 0, 0], [0, 0, 0]])).max() == 2**31 - 1


@pytest.mark.parametrize("value", [2**31, 2**32 + 1, 2**40])
@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
def test_counts_beyond_32_bits_do_not_wrap(value: int, dtype: str):
    with pytest.raises(DataError, match="of cell 'b' and gene 'z'"):
        converted(np.array([[0, 1, 0], [2, 0, value]], dtype=dtype))


def test_repeated_entries_are_summed_and_zeros_not_stored():
    where = (np.array([0, 0, 1, 1]), np.array([1, 1, 0, 2]))
    counts = converted(sparse.coo_matrix(([2, 3, 0, 4], where), shape=(2, 3)))
    np.testing.assert_array_equal(counts.toarray(), [[0, 5, 0], [0, 0, 4]])
    assert counts.nnz == 2
