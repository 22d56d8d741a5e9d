"""Matrices that another process opens again, wherever they are."""

import pickle

import numpy as np
import pytest
from scipy import sparse

from lucidvi.data import opened_again, portable
from lucidvi.data.matrices._joined import JoinedCounts

pytest.importorskip("dask.array")
pytest.importorskip("zarr")

from tests.data.matrices.forms import FORMS, draw_counts

pytestmark = pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")


def dense(matrix):
    matrix = matrix[:] if not hasattr(matrix, "compute") else matrix.compute()
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@pytest.mark.parametrize("name", ["file", "file of CSR", "file of CSC", "zarr", "zarr of CSR"])
def test_matrices_are_opened_again(name, tmp_path):
    sent = pickle.dumps(portable(FORMS[name](draw_counts(), tmp_path)))
    np.testing.assert_array_equal(dense(opened_again(pickle.loads(sent))), draw_counts())


def test_rows_of_several_files_are_opened_again(tmp_path):
    parts = [FORMS[name](draw_counts(), tmp_path) for name in ("file of CSR", "zarr of CSR")]
    own = np.arange(7)
    whole = JoinedCounts([*parts, draw_counts()], [own, own[::-1], np.where(own < 3, own, -1)], 7)
    sent = pickle.dumps(portable(whole.as_dask()))
    last = np.where(own < 3, draw_counts(), 0)
    want = np.vstack([draw_counts(), draw_counts()[:, ::-1], last])
    np.testing.assert_array_equal(dense(opened_again(pickle.loads(sent))), want)


def test_what_is_in_memory_is_sent_as_it_is():
    x = sparse.csr_matrix(draw_counts())
    assert portable(x) is x
    assert opened_again(x) is x
    assert portable(None) is None
