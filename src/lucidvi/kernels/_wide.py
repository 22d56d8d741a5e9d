"""Dense layers with many outputs, a block of outputs at a time."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lucidvi.kernels import _team

#: Outputs from which blocks are faster than one product, and outputs a block (measured on two
#: cores for 128 cells, 128 hidden units and 13,714 genes).
WIDE, BLOCK = 4096, 2048


@cache
def helps() -> bool:
    """Whether this processor gains by blocks: AMD's does, Intel's loses a fifth.

    torch multiplies matrices by a library of Intel's.
    """
    from llvmlite.binding import get_host_cpu_name

    return get_host_cpu_name().startswith("znver")


def wide_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer, ``x @ weight.T + bias``.

    Parameters
    ----------
    x
        Shape ``(..., n_cells, n_hidden)``.
    weight, bias
        Shapes ``(n_genes, n_hidden)`` and ``(n_genes,)``.

    Returns
    -------
    Shape ``(..., n_cells, n_genes)``.
    """
    plain = not _team.usable(x) or torch.is_autocast_enabled("cpu")
    if plain or len(weight) < WIDE or x.ndim != 2 or not helps():
        return torch.nn.functional.linear(x, weight, bias)
    return _WideLinear.apply(x, weight, bias)


class _WideLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = x.new_empty(len(x), len(weight))
        for block in _blocks(len(weight)):
            out[:, block] = torch.addmm(bias[block], x, weight[block].T)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        by_weight = torch.empty_like(weight)
        for block in _blocks(len(weight)):
            torch.mm(gradient[:, block].T, x, out=by_weight[block])
        return gradient @ weight, by_weight, gradient.sum(dim=0)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
