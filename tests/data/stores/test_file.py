"""Minibatches of cells in files: read together and ahead, and the same as one by one."""

import threading

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from lucidvi.data import CellSource, FileStore, StoredCounts
from lucidvi.data.stores._file import grouped
from lucidvi.errors import DataError
from lucidvi.model import SCVI

pytest.importorskip("dask.array")
pytest.importorskip("zarr")

from tests.data.matrices.forms import FORMS, N_CELLS, draw_counts

pytestmark = pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")

MINIBATCHES = [[3, 1, 2], [29, 0, 0], [-1, -30, 4], [], [5], list(range(30)), [17, 3]]


def store_of(matrix):
    adata = AnnData(matrix)
    SCVI.setup_anndata(adata)
    return FileStore(CellSource(SCVI(adata, n_hidden=2).adata_manager, is_read_often=True))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("n_at_once", [1, 6, 1000])
def test_stream_gives_what_is_taken_one_by_one(name, n_at_once, tmp_path):
    x = draw_counts()
    store = store_of(FORMS[name](x, tmp_path))
    got = list(store.stream(iter(MINIBATCHES), n_at_once))
    assert len(got) == len(MINIBATCHES)
    for minibatch, rows in zip(got, MINIBATCHES, strict=True):
        rows = np.array(rows, dtype=int)
        np.testing.assert_array_equal(minibatch["X"].to_dense(), x[rows])
        want = store.take(rows)
        assert want.keys() == minibatch.keys()
        for key in want:
            assert torch.equal(minibatch[key].to_dense(), want[key].to_dense())


def in_file(tmp_path, x=None):
    return store_of(FORMS["file of CSR"](draw_counts() if x is None else x, tmp_path))


def test_cells_are_read_by_another_thread_and_once(tmp_path, monkeypatch):
    store = in_file(tmp_path)
    read, threads = [], set()

    class Watched(StoredCounts):
        def __getitem__(self, rows):
            read.append(len(rows))
            threads.add(threading.current_thread())
            return super().__getitem__(rows)

    store.stored = {"X": Watched(store.stored["X"].matrix)}
    rows = np.random.default_rng(0).permutation(N_CELLS).reshape(10, 3)
    minibatches = store.stream(rows, 9)
    next(minibatches)
    assert sum(read) <= 18  # what it is from, and what comes next
    list(minibatches)
    assert sum(read) == N_CELLS
    assert len(read) == 4
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_thread_ends_with_the_stream(tmp_path):
    store = in_file(tmp_path)
    before = threading.active_count()
    minibatches = store.stream([[1], [2], [3]], 1)
    next(minibatches)
    assert threading.active_count() == before + 1
    minibatches.close()
    assert threading.active_count() == before


def test_cells_that_have_changed_are_refused(tmp_path):
    """In the thread that reads them, as elsewhere."""
    store = in_file(tmp_path)
    store.stored = {"X": StoredCounts(sparse.csr_matrix(2 * draw_counts()))}
    assert list(store.stream([[1]], 1))  # in memory: compared when a training begins
    (tmp_path / "other").mkdir()
    other = FORMS["file of CSR"](2 * draw_counts(), tmp_path / "other")
    store.stored = {"X": StoredCounts(other)}
    with pytest.raises(DataError, match="has changed since it was set up"):
        list(store.stream([[1], [2]], 1))


def test_size_of_what_is_read_together():
    rows = [np.arange(n) for n in (3, 3, 3, 3, 3, 1)]
    assert [sum(map(len, group)) for group in grouped(rows, 6)] == [6, 6, 4]
    assert [sum(map(len, group)) for group in grouped(rows, 8)] == [6, 6, 4]
    assert [len(group) for group in grouped(rows, 1)] == [1] * 6
    assert list(grouped([], 4)) == []


def test_groups_of_what_is_left_end_where_they_did():
    rows = [np.arange(2)] * 10
    for n_done in range(10):
        ends = n_done + np.cumsum([len(group) for group in grouped(rows[n_done:], 6, n_done)])
        assert set(ends) <= {3, 6, 9, 10}


def test_memory_of_a_cell_is_that_of_its_counts(tmp_path):
    """Eight bytes a count, whatever the number of genes; dense, a number a gene."""
    x = sparse.random(300, 1000, 0.01, "csr", np.float32, random_state=0)
    assert StoredCounts(FORMS["file of CSR"](x, tmp_path)).bytes_per_cell == pytest.approx(
        88, abs=9
    )
    assert StoredCounts(np.ones((4, 1000), ">f4")).bytes_per_cell == 4000
