"""Minibatches of counts as sparse CSR tensors: the few operations that a model needs of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lucidvi.kernels import _team

#: Below this share of non-zeros a product with the sparse matrix is faster than one with the
#: dense matrix (measured for 2,000 and 13,714 genes on two cores).
SPARSE_BELOW = 0.15

Parts = tuple[Tensor, Tensor, Tensor]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def csr(starts: Tensor, genes: Tensor, counts: Tensor, n_genes: int) -> Tensor:
    """CSR tensor of its three arrays, which are not copied and not checked."""
    size = (len(starts) - 1, n_genes)
    return torch.sparse_csr_tensor(starts, genes, counts, size=size, check_invariants=False)


def is_csr(x: Tensor) -> bool:
    """Whether a tensor is sparse, in CSR layout."""
    return x.layout == torch.sparse_csr


def as_csr(x: Tensor) -> Tensor:
    """Return a matrix as a CSR tensor (int32, float32).

    Parameters
    ----------
    x
        Shape ``(n_rows, n_columns)``: dense, CSR, CSC or COO, of any type of numbers; on the CPU.
    """
    x = x if x.layout in (torch.strided, torch.sparse_csr) else x.to_dense()
    return csr(*csr_parts(x), x.shape[1])


def select_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a matrix, dense or CSR, by position or mask, in the order asked for.

    Parameters
    ----------
    x
        Shape ``(n_rows, n_columns)``.
    rows
        Positions, int64, negative ones from the end; or a boolean mask of shape ``(n_rows,)``.
    """
    if not is_csr(x):
        return x[rows]
    parts = x.crow_indices(), x.col_indices(), x.values()
    rows = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
    plain = [part.dtype for part in parts] == [torch.int32, torch.int32, torch.float32]
    if not plain or x.requires_grad or x.device.type != "cpu":
        return gather_rows(parts, rows, x.shape[1])
    starts, columns, values = (part.numpy() for part in parts)
    return copy_rows((starts, columns, values), rows.numpy(), x.shape[1])


def copy_rows(parts: Arrays, rows: np.ndarray, n_columns: int) -> Tensor:
    """Return rows of a CSR matrix in memory as a CSR tensor (int32, float32), by compiled code.

    Parameters
    ----------
    parts
        Row starts, columns and values, of any type of numbers.
    rows
        Positions, int64, negative ones from the end.
    n_columns
        Number of columns.

    Raises
    ------
    IndexError
        If there is no such row.
    """
    from lucidvi.kernels._compiled_csr import gather

    starts, n_rows = parts[0], len(parts[0]) - 1
    if len(rows) and not -n_rows <= rows.min() <= rows.max() < n_rows:
        raise IndexError(f"rows {rows.min()} to {rows.max()} of a matrix of {n_rows}")
    rows = rows % max(n_rows, 1)  # a negative one counts from the end
    new_starts = np.zeros(len(rows) + 1, np.int32)
    np.cumsum(starts[rows + 1] - starts[rows], out=new_starts[1:])
    n_values = new_starts[-1]
    new = new_starts, np.empty(n_values, np.int32), np.empty(n_values, np.float32)
    gather(*parts, rows, *new)
    made = [torch.from_numpy(part) for part in new]
    return csr(made[0], made[1], made[2], n_columns)


def gather_rows(parts: Parts, rows: Tensor, n_columns: int, n_values: int | None = None) -> Tensor:
    """Return rows of a CSR matrix on any device as a CSR tensor of the same types.

    Parameters
    ----------
    parts
        Row starts, columns and values.
    rows
        Positions, int64, negative ones from the end.
    n_columns
        Number of columns.
    n_values
        Number of values in these rows; where it is not given, the device is asked for it.
    """
    starts, columns, values = parts
    first = starts[:-1][rows].long()
    lengths = starts[1:][rows].long() - first
    new_starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    shifts = (first - new_starts[:-1]).repeat_interleave(lengths, output_size=n_values)
    places = torch.arange(len(shifts), device=values.device) + shifts
    return csr(new_starts.to(columns.dtype), columns[places], values[places], n_columns)


def csr_parts(x: Tensor) -> Parts:
    """Row starts, columns (int32) and values (float32) of a matrix, sparse or dense.

    Parameters
    ----------
    x
        Shape ``(n_rows, n_columns)``, on the CPU.
    """
    if not is_csr(x):
        from lucidvi.kernels._compiled_csr import compress

        arrays = compress(x.detach().float().numpy())
        starts, columns, values = map(torch.from_numpy, arrays)
        return starts, columns, values
    starts, columns, values = x.crow_indices(), x.col_indices(), x.values()
    return starts.int().contiguous(), columns.int().contiguous(), values.float().contiguous()


def row_index(x: Tensor) -> Tensor:
    """Row of each stored value of a CSR tensor, shape ``(n_values,)``."""
    starts = x.crow_indices()
    rows = torch.arange(len(x), device=x.device)
    return rows.repeat_interleave(starts.diff(), output_size=x.values().shape[0])


def row_sums(x: Tensor) -> Tensor:
    """Sum of each row of a matrix, sparse or dense, shape ``(n_rows, 1)``."""
    if not is_csr(x):
        return x.sum(dim=-1, keepdim=True)
    if x.dtype == torch.float32 and _team.usable(x):
        from lucidvi.kernels._compiled_csr import sum_rows

        starts, _, entries = csr_parts(x)
        sums = torch.empty(len(x), 1)
        _team.run(sum_rows, [len(x), *(part.data_ptr() for part in (starts, entries, sums))], 1)
        return sums
    values = x.values()
    sums = values.new_zeros(len(x)).index_add_(0, row_index(x), values)
    return sums.unsqueeze(-1)


def log1p(x: Tensor) -> Tensor:
    """``log(1 + x)`` of a matrix, sparse or dense."""
    if not is_csr(x):
        return torch.log1p(x)
    return csr(x.crow_indices(), x.col_indices(), torch.log1p(x.values()), x.shape[1])


def to_dense(x: Tensor) -> Tensor:
    """Return a matrix as a dense tensor."""
    if not is_csr(x):
        return x
    if x.dtype != torch.float32 or not _team.usable(x):
        return x.to_dense()
    from lucidvi.kernels._compiled_csr import densify

    parts = csr_parts(x)
    out = torch.empty(x.shape)
    addresses = [tensor.data_ptr() for tensor in (*parts, out)]
    _team.run(densify, [*x.shape, *addresses], _team.n_threads())
    return out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Product of a sparse or dense matrix with transposed weights, ``x @ weight.T + bias``.

    Parameters
    ----------
    x
        Counts or what was made of them, shape ``(n_cells, n_genes)``; no gradient.
    weight
        Shape ``(n_hidden, n_genes)``. Fast where the weights of one gene lie side by side in
        memory, see :func:`gene_major`.
    bias
        Shape ``(n_hidden,)``.

    Returns
    -------
    Shape ``(n_cells, n_hidden)``.
    """
    sparse = is_csr(x) and x.values().shape[0] < SPARSE_BELOW * x.numel()
    fits = x.shape[1] == weight.shape[1] and all(
        tensor is None or tensor.dtype == torch.float32 for tensor in (weight, bias)
    )
    if not sparse or not fits or not _team.usable(x):
        return torch.nn.functional.linear(to_dense(x).to(weight.dtype), weight, bias)
    if bias is None:
        bias = torch.zeros(len(weight))
    return _SparseLinear.apply(csr_parts(x), weight, bias)


def gene_major(weight: Tensor) -> Tensor:
    """Return the same weights, those of one column side by side in memory."""
    return weight.t().contiguous().t()


class _SparseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Parts, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.parts, ctx.n_columns = parts, weight.shape[1]
        return _product(parts, weight.t().contiguous(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        by_weight = _transposed_product(ctx.parts, gradient.contiguous(), ctx.n_columns)
        return None, by_weight.t(), gradient.sum(dim=0)


def _product(parts: Parts, dense: Tensor, bias: Tensor) -> Tensor:
    from lucidvi.kernels._compiled_csr import sparse_product

    n_rows = len(parts[0]) - 1
    out = torch.empty(n_rows, dense.shape[1])
    bias = bias.contiguous()  # has to live as long as the kernel runs
    addresses = [tensor.data_ptr() for tensor in (*parts, dense, bias, out)]
    _team.run(sparse_product, [n_rows, *dense.shape, *addresses], _team.n_threads())
    return out


def _transposed_product(parts: Parts, dense: Tensor, n_inner: int) -> Tensor:
    from lucidvi.kernels._compiled_csr import transposed_product

    out = torch.empty(n_inner, dense.shape[1])
    scratch = (torch.empty(n_inner, dtype=torch.int32), *map(torch.empty_like, parts[1:]))
    addresses = [tensor.data_ptr() for tensor in (*parts, dense, out, *scratch)]
    sizes = [len(dense), n_inner, dense.shape[1]]
    _team.run(transposed_product, [*sizes, *addresses], _team.n_threads())
    return out


def _hear_the_warning() -> None:
    """Make a first CSR tensor, since torch says once a process that they are in beta state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        csr(
            torch.zeros(1, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(0), 1
        )


_hear_the_warning()
