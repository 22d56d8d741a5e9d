"""Every part of the work is done once, by however many threads there are."""

import ctypes

import numpy as np
import pytest
import torch

from lucidvi.kernels import _arithmetic, _compiled_csr, _team


@pytest.fixture
def matrix():
    """CSR arrays, and the same dense."""
    dense = np.random.default_rng(0).poisson(0.4, (11, 6)).astype(np.float32)
    starts = torch.from_numpy(np.r_[0, (dense != 0).sum(1).cumsum()].astype(np.int32))
    columns = torch.from_numpy(np.nonzero(dense)[1].astype(np.int32))
    return (starts, columns, torch.from_numpy(dense[dense != 0])), torch.from_numpy(dense)


def densify(parts, shape, n_parts):
    """Into a matrix of NaN, so that a row that nobody does is seen."""
    out = torch.full(shape, float("nan"))
    addresses = [tensor.data_ptr() for tensor in (*parts, out)]
    _team.run(_compiled_csr.densify, [*shape, *addresses], n_parts)
    return out


needs_openmp = pytest.mark.skipif(
    _team._parallel() is None, reason="torch has no OpenMP runtime to share"
)
TEAMS = [1, *(pytest.param(n, marks=needs_openmp) for n in (2, 3, 4, 5, 16))]


@pytest.mark.parametrize("n_parts", TEAMS)
@pytest.mark.parametrize("n_rows", [11, 3, 1, 0])
def test_every_row_is_done(matrix, n_parts, n_rows):
    """Also where there are more threads than rows."""
    (starts, columns, values), dense = matrix
    parts = starts[: n_rows + 1], columns, values
    for _ in range(20):
        assert torch.equal(densify(parts, (n_rows, 6), n_parts), dense[:n_rows])


@pytest.mark.parametrize("n_parts", TEAMS)
def test_every_row_is_done_once(matrix, n_parts):
    """Gradients of a shared dispersion are added up, so a part done twice would count twice."""
    (starts, columns, values), dense = matrix
    weight = torch.randn(6, 4)
    out = torch.full((11, 4), float("nan"))
    tensors = (starts, columns, values, weight, torch.ones(4), out)
    addresses = [tensor.data_ptr() for tensor in tensors]
    for _ in range(20):
        _team.run(_compiled_csr.sparse_product, [11, 6, 4, *addresses], n_parts)
        torch.testing.assert_close(out, dense @ weight + 1)


@pytest.mark.parametrize("n_parts", TEAMS)
def test_numbers_of_the_team(n_parts):
    """Each thread takes one of the numbers 0, ..., n_parts - 1: ``share`` covers all, once."""
    for n in (0, 1, 2, 5, 7, 100):
        shares = [_arithmetic.share(part, n_parts, n) for part in range(n_parts)]
        assert [i for start, stop in shares for i in range(start, stop)] == list(range(n))
        assert max(stop - start for start, stop in shares) <= -(-n // n_parts)


@pytest.fixture
def without_openmp(monkeypatch):
    monkeypatch.setattr(_team, "_parallel", lambda: None)


def test_one_thread_where_there_is_no_openmp(without_openmp, matrix):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert _team.n_threads() == 1
        parts, dense = matrix
        assert torch.equal(densify(parts, (11, 6), _team.n_threads()), dense)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("missing", ["library", "function", "build"])
def test_openmp_is_missing(monkeypatch, missing):
    """No libgomp, one without the function, or a torch that does not use OpenMP."""

    def load(name):
        if missing == "library":
            raise OSError(f"{name}: cannot open shared object file")
        return object()

    monkeypatch.setattr(_team.ctypes, "CDLL", load)
    if missing == "build":
        monkeypatch.setattr(torch.__config__, "parallel_info", lambda: "ATen parallel: native")
    _team._parallel.cache_clear()
    try:
        assert _team._parallel() is None
        assert _team.n_threads() == 1
    finally:
        _team._parallel.cache_clear()


@needs_openmp
def test_as_many_threads_as_torch_has():
    before = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            assert _team.n_threads() == n
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("started", [1, 2])
def test_fewer_threads_than_asked_for(monkeypatch, matrix, started):
    """OpenMP may start fewer (OMP_THREAD_LIMIT, OMP_DYNAMIC); the work is done all the same."""

    def start(function, data, n_parts, flags):
        for _ in range(min(started, n_parts)):
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)(data)

    monkeypatch.setattr(_team, "_parallel", lambda: start)
    parts, dense = matrix
    for n_parts in (1, 2, 5):
        assert torch.equal(densify(parts, (11, 6), n_parts), dense), n_parts
