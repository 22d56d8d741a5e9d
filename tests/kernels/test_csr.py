"""Operations on CSR counts against the same on dense matrices in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lucidvi import kernels
from lucidvi.kernels import (
    copy_rows,
    csr_parts,
    gather_rows,
    gene_major,
    is_csr,
    linear,
    log1p,
    row_sums,
    select_rows,
    to_dense,
)
from lucidvi.kernels._csr import SPARSE_BELOW, row_index

SHAPES = {"some": (7, 33), "one row": (1, 5), "one column": (6, 1), "no rows": (0, 4)}
BELOW, ABOVE = 0.05, 0.6


def draw(n_rows=7, n_columns=33, density=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = (1 + rng.poisson(2.0, (n_rows, n_columns))) * (rng.random((n_rows, n_columns)) < density)
    x[3:4] = 0  # a row without counts
    return x.astype(np.float32)


def as_csr(x, integer=np.int32, dtype=torch.float32):
    matrix = sparse.csr_matrix(x)
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(integer)),
        torch.from_numpy(matrix.indices.astype(integer)),
        torch.from_numpy(matrix.data).to(dtype),
        size=x.shape,
        check_invariants=False,
    )


@pytest.fixture(params=SHAPES)
def x(request):
    return draw(*SHAPES[request.param])


@pytest.mark.parametrize("integer", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_every_type(x, integer, dtype):
    given = as_csr(x, integer, dtype)
    assert is_csr(given)
    dense = torch.from_numpy(x).to(dtype)
    np.testing.assert_array_equal(to_dense(given), x)
    sums = row_sums(given)
    assert sums.dtype == dtype
    np.testing.assert_array_equal(sums, x.sum(1, keepdims=True))
    logs = log1p(given)
    assert is_csr(logs)
    torch.testing.assert_close(logs.to_dense(), torch.log1p(dense))
    np.testing.assert_array_equal(given.to_dense(), x)  # not in place
    np.testing.assert_array_equal(row_index(given), np.nonzero(x)[0])


def test_of_dense(x):
    dense = torch.from_numpy(x)
    assert not is_csr(dense)
    assert to_dense(dense) is dense
    np.testing.assert_array_equal(row_sums(dense), x.sum(1, keepdims=True))
    torch.testing.assert_close(log1p(dense), torch.log1p(dense))


def test_sums_keep_what_float32_would_lose():
    """2**24 + 1 + 1 is not 2**24."""
    x = torch.tensor([[2.0**24, 1.0, 1.0]])
    assert row_sums(as_csr(x.numpy())).item() == 2**24 + 2


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(torch.from_numpy, id="dense"),
        pytest.param(lambda x: torch.from_numpy(x).double(), id="float64"),
        pytest.param(lambda x: torch.from_numpy(x).int(), id="int32"),
        pytest.param(lambda x: torch.from_numpy(x).t().contiguous().t(), id="by columns"),
        pytest.param(lambda x: torch.from_numpy(x).clone().requires_grad_(), id="with gradient"),
        pytest.param(as_csr, id="csr"),
        pytest.param(lambda x: as_csr(x, np.int64), id="csr, int64"),
        pytest.param(lambda x: as_csr(x, dtype=torch.float64), id="csr, float64"),
    ],
)
def test_parts(x, make):
    want = sparse.csr_matrix(x)
    for got, array, dtype in zip(
        csr_parts(make(x)),
        (want.indptr, want.indices, want.data),
        (torch.int32, torch.int32, torch.float32),
        strict=True,
    ):
        assert got.dtype == dtype
        assert got.is_contiguous()
        np.testing.assert_array_equal(got, array)


def test_entries_stored_twice_are_summed():
    parts = torch.tensor([0, 3]), torch.tensor([1, 0, 1]), torch.tensor([1.0, 5.0, 2.0])
    x = torch.sparse_csr_tensor(*parts, size=(1, 2), check_invariants=False)
    assert to_dense(x).tolist() == [[5.0, 3.0]]
    assert row_sums(x).tolist() == [[8.0]]


# -- linear -----------------------------------------------------------------------------------


def check_linear(x, counts, weight, bias):
    """Value and gradients against dense float64, and that they are those of the leaves given."""
    exact = [None if t is None else t.detach().double().requires_grad_() for t in (weight, bias)]
    want = counts.double() @ exact[0].t()
    want = want if bias is None else want + exact[1]
    got = linear(x, weight, bias)
    assert got.dtype == weight.dtype
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)
    upstream = torch.randn(want.shape, dtype=torch.float64)
    leaves = [t for t in (weight, bias) if t is not None and t.requires_grad]
    exact = [e for e, t in zip(exact, (weight, bias), strict=True) if any(t is u for u in leaves)]
    if leaves:
        gradients = torch.autograd.grad(got, leaves, upstream.to(got.dtype))
        expected = torch.autograd.grad(want, exact, upstream)
        for gradient, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(gradient.double(), other, rtol=1e-5, atol=1e-4)


LAYOUTS = {
    "by hidden unit": lambda w: w,
    "by gene": gene_major,
    "slice": lambda w: torch.cat([w, torch.full_like(w, 7.0)], 1)[:, : w.shape[1]],
    "slice by gene": lambda w: gene_major(torch.cat([w, w + 7], 1))[:, : w.shape[1]],
    "every second": lambda w: torch.stack([w, w + 7], -1)[..., 0],
    "float64": torch.Tensor.double,
}


@pytest.mark.parametrize("density", [0.0, BELOW, ABOVE])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(density, layout, with_bias, monkeypatch):
    x = draw(20, 50, density)
    weight = LAYOUTS[layout](torch.randn(6, 50)).requires_grad_()
    bias = torch.randn(6, dtype=weight.dtype).requires_grad_() if with_bias else None
    check_linear(as_csr(x), torch.from_numpy(x), weight, bias)
    check_linear(torch.from_numpy(x), torch.from_numpy(x), weight, bias)


@pytest.mark.parametrize("density", [BELOW, ABOVE])
def test_the_sparse_product_is_taken_where_it_is_faster(density):
    x = draw(50, 40, density)
    assert (np.mean(x != 0) < SPARSE_BELOW) == (density == BELOW)
    got = linear(as_csr(x), torch.randn(3, 40).requires_grad_())
    assert (type(got.grad_fn).__name__ == "_SparseLinearBackward") == (density == BELOW)


@pytest.mark.parametrize("wanted", ["weight", "bias", "neither"])
def test_linear_with_some_gradients(wanted):
    x = draw(20, 50, BELOW)
    weight = torch.randn(6, 50, requires_grad=wanted == "weight")
    bias = torch.randn(6, requires_grad=wanted == "bias")
    check_linear(as_csr(x), torch.from_numpy(x), weight, bias)


@pytest.mark.parametrize("density", [BELOW, ABOVE])
def test_gradient_of_a_slice_reaches_the_whole(density):
    """As the first layer has it: weights of genes, then those of covariates."""
    x = draw(20, 50, density)
    whole = gene_major(torch.randn(6, 53)).requires_grad_()
    linear(as_csr(x), whole[:, :50]).square().sum().backward()
    exact = whole.detach().double().requires_grad_()
    (torch.from_numpy(x).double() @ exact[:, :50].t()).square().sum().backward()
    torch.testing.assert_close(whole.grad.double(), exact.grad, rtol=1e-5, atol=1e-3)
    assert (whole.grad[:, 50:] == 0).all()


def test_linear_backward_twice():
    x = draw(20, 50, BELOW)
    weight = torch.randn(6, 50, requires_grad=True)
    total = linear(as_csr(x), weight).square().sum()
    first, second = (torch.autograd.grad(total, weight, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_gradients_that_are_not_contiguous():
    """That of a sum is one number seen everywhere, that of a transpose lies by columns."""
    x = draw(20, 50, BELOW)
    exact = torch.from_numpy(x).double()
    weight = torch.randn(6, 50, requires_grad=True)
    (by_sum,) = torch.autograd.grad(linear(as_csr(x), weight).sum(), weight)
    torch.testing.assert_close(by_sum.double(), exact.sum(0).expand(6, 50), rtol=1e-5, atol=1e-5)
    scale = torch.randn(6, 20)
    (by_t,) = torch.autograd.grad((linear(as_csr(x), weight).t() * scale).sum(), weight)
    torch.testing.assert_close(by_t.double(), scale.double() @ exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("density", [BELOW, ABOVE])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda b: torch.stack([b, b + 9], -1)[:, 0], id="every second"),
        pytest.param(lambda b: b[:1].expand(64), id="expanded"),
    ],
)
def test_bias_that_is_not_contiguous(density, make):
    """A copy of it has to live as long as the kernel runs."""
    x = draw(20, 50, density)
    for _ in range(20):  # what lies at a freed address differs
        bias = make(torch.randn(64))
        check_linear(as_csr(x), torch.from_numpy(x), torch.randn(64, 50), bias)


@pytest.mark.parametrize("density", [BELOW, ABOVE])
def test_bias_of_another_precision_is_refused_or_right(density):
    x, weight = draw(20, 50, density), torch.randn(6, 50)
    bias = torch.randn(6, dtype=torch.float64)
    want = torch.from_numpy(x) @ weight.t() + bias.float()
    try:
        got = linear(as_csr(x), weight, bias)
    except (RuntimeError, TypeError, ValueError):
        return
    torch.testing.assert_close(got.float(), want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("density", [BELOW, ABOVE])
@pytest.mark.parametrize("n_columns", [40, 60])
def test_weights_of_other_genes_are_refused(density, n_columns):
    x = as_csr(draw(20, 50, density))
    with pytest.raises((RuntimeError, ValueError)):
        linear(x, torch.randn(6, n_columns))


@given(
    n_rows=st.integers(1, 9),
    n_genes=st.integers(1, 40),
    n_hidden=st.integers(1, 40),
    density=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_linear_of_any_shape(n_rows, n_genes, n_hidden, density, seed):
    x = draw(n_rows, n_genes, density, seed)
    weight = torch.randn(n_hidden, n_genes, requires_grad=True)
    bias = torch.randn(n_hidden, requires_grad=True)
    check_linear(as_csr(x), torch.from_numpy(x), weight, bias)


def test_gene_major():
    weight = torch.randn(3, 5)
    got = gene_major(weight)
    assert torch.equal(got, weight)
    assert got.stride() == (1, 3)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 30])
def test_threads_change_nothing(n_threads):
    x = draw(20, 50, BELOW)
    weight, bias = torch.randn(6, 50, requires_grad=True), torch.randn(6)
    results = []
    before = torch.get_num_threads()
    try:
        for n in (1, n_threads):
            torch.set_num_threads(n)
            value = linear(as_csr(x), weight, bias)
            (gradient,) = torch.autograd.grad(value.square().sum(), weight)
            results.append((value, gradient, to_dense(as_csr(x))))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


ROWS = {
    "in order": [0, 1, 2],
    "repeated": [5, 5, 2, 6, 2],
    "from the end": [-1, 3, -7],
    "none": [],
    "without counts": [3, 3],
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("integer", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows(rows, integer, dtype):
    """As numpy takes them, by each of the ways, and by a mask."""
    x, rows = draw(), np.array(ROWS[rows], dtype=np.int64)
    matrix = as_csr(x, integer, dtype)
    got = select_rows(matrix, torch.from_numpy(rows))
    assert is_csr(got)
    assert got.dtype == dtype
    assert got.col_indices().dtype == matrix.col_indices().dtype
    np.testing.assert_array_equal(got.to_dense(), x[rows])
    parts = matrix.crow_indices(), matrix.col_indices(), matrix.values()
    for n_values in (None, len(got.values())):
        gathered = gather_rows(parts, torch.from_numpy(rows), x.shape[1], n_values)
        np.testing.assert_array_equal(gathered.to_dense(), x[rows])
    copied = copy_rows(tuple(part.numpy() for part in parts), rows, x.shape[1])
    assert copied.dtype == torch.float32
    assert copied.col_indices().dtype == torch.int32
    np.testing.assert_array_equal(copied.to_dense(), x[rows])
    mask = np.isin(np.arange(len(x)), rows)
    chosen = select_rows(matrix, torch.from_numpy(mask))
    np.testing.assert_array_equal(chosen.to_dense(), x[mask])
    dense = torch.from_numpy(x)
    np.testing.assert_array_equal(select_rows(dense, torch.from_numpy(rows)), x[rows])


@pytest.mark.parametrize("row", [7, -8])
def test_rows_that_are_not_there(row):
    x, rows = as_csr(draw()), torch.tensor([0, row])
    parts = x.crow_indices(), x.col_indices(), x.values()
    for take in (
        lambda: select_rows(x, rows),
        lambda: gather_rows(parts, rows, 33),
        lambda: copy_rows(tuple(part.numpy() for part in parts), rows.numpy(), 33),
    ):
        with pytest.raises(IndexError):
            take()


def test_every_layout_as_csr():
    x = draw()
    dense = torch.from_numpy(x).double()
    for matrix in (x, dense, dense.to_sparse_csr(), dense.to_sparse_csc(), dense.to_sparse_coo()):
        got = kernels.as_csr(torch.as_tensor(matrix))
        assert is_csr(got)
        assert got.dtype == torch.float32
        assert got.crow_indices().dtype == got.col_indices().dtype == torch.int32
        np.testing.assert_array_equal(got.to_dense(), x)


def test_csr_holds_the_arrays_it_is_made_of():
    starts, genes, counts = torch.tensor([0, 1, 1]), torch.tensor([2]), torch.tensor([5.0])
    x = kernels.csr(starts, genes, counts, 3)
    assert x.to_dense().tolist() == [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]
    assert x.values().data_ptr() == counts.data_ptr()
