"""Log likelihoods of whole cells, by the fastest implementation that the device has."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lucidvi.kernels import _team
from lucidvi.kernels._csr import csr_parts, is_csr
from lucidvi.kernels._formulas import Family, log_prob

#: The families that are compiled for the CPU, by name; their parameters are a log inverse
#: dispersion and log odds of zero inflation.
COMPILED = ("poisson", "nb", "zinb")
#: Cells that a thread takes at a time, unless there would be too many parts.
CELLS_PER_PART, MOST_PARTS = 16, 64


def log_likelihood(
    family: Family,
    log_mean: Tensor,
    log_library: Tensor,
    x: Tensor,
    *parameters: Tensor,
    softmax: bool = True,
) -> Tensor:
    r"""Sum over the genes of the log probability of each count, in nats.

    Parameters
    ----------
    family
        What states the formulas, which are used where no code is compiled for it.
    log_mean
        Logits of the normalized expression, or its log, ``(..., n_cells, n_genes)``.
    log_library
        Log exposure, of a shape that broadcasts to ``(..., n_cells, 1)``.
    x
        Counts, CSR ``(n_cells, n_genes)`` or dense and broadcasting with ``log_mean``.
    *parameters
        What the family needs besides the mean, broadcasting with ``log_mean``: for a negative
        binomial a log inverse dispersion, and of a zero-inflated one its log odds.
    softmax
        Whether ``log_mean`` are logits, which a softmax over the genes normalizes.

    Returns
    -------
    Shape ``(..., n_cells)``.
    """
    shapes = list(parameters)
    if log_mean.dtype in (torch.bfloat16, torch.float16):  # mixed precision leaves the loss out
        log_mean, log_library = log_mean.float(), log_library.float()
        shapes = [parameter.float() for parameter in shapes]
    if family.family in COMPILED and _team.usable(log_mean):
        value = _on_cpu(family.family, log_mean, log_library, x, shapes, softmax)
        if value is not None:
            return value
    function = compiled_reference() if log_mean.device.type == "cuda" else reference
    return function(family, log_mean, log_library, x, shapes, softmax)


def reference(
    family: Family,
    log_mean: Tensor,
    log_library: Tensor,
    x: Tensor,
    parameters: list[Tensor],
    softmax: bool,
) -> Tensor:
    """:func:`log_likelihood` in plain torch, on any device and in any precision."""
    log_scale = log_mean.log_softmax(dim=-1) if softmax else log_mean
    return log_prob(family, x, log_scale + log_library, *parameters).sum(dim=-1)


@cache
def compiled_reference() -> Any:
    """:func:`reference` as compiled by torch, where it can be (it needs Triton for CUDA)."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return reference
    return torch.compile(reference, dynamic=True)


def _on_cpu(
    family: str,
    log_mean: Tensor,
    log_library: Tensor,
    x: Tensor,
    parameters: list[Tensor],
    softmax: bool,
) -> Tensor | None:
    """By the compiled kernel, or None where that does not apply."""
    shape = log_mean.shape
    others = [tensor.shape for tensor in (log_library, x, *parameters)]
    if not all(_broadcasts(other, shape) for other in others):
        torch.broadcast_shapes(shape, *others)  # or else an error
        return None
    if not is_csr(x) and x.ndim > 2:
        x = x.expand(shape).reshape(-1, x.shape[-1])
    n_rows, n_genes = math.prod(shape[:-1]), shape[-1]
    tensors = [log_mean, log_library, *parameters]
    fits = (
        n_rows > 0
        and x.ndim == 2
        and x.shape[1] == n_genes
        and x.shape[0] > 0
        and n_rows % x.shape[0] == 0
        and all(tensor.dtype == torch.float32 for tensor in tensors)
    )
    if not fits:
        return None
    rows = [log_mean.reshape(n_rows, n_genes), log_library.expand(*shape[:-1], 1).reshape(n_rows)]
    for place, parameter in enumerate(parameters):
        # One dispersion for all cells, one for each cell, or one for each draw of each cell.
        one_row = parameter.shape[-1:] == (n_genes,) and parameter.numel() == n_genes
        if place == 0 and one_row:
            rows.append(parameter.reshape(1, n_genes))
        elif place == 0 and parameter.shape == (x.shape[0], n_genes):
            rows.append(parameter)
        else:
            rows.append(parameter.expand(shape).reshape(n_rows, n_genes))
    given = (family, softmax, csr_parts(x))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in rows):
        value = _Fused.apply(*given, *rows)
    else:
        rows = [tensor.contiguous() for tensor in rows]
        value, _ = _run(*given, tuple(rows), torch.ones(n_rows), False)
    # The kernel marks what is out of its range, which is far beyond that of counts.
    return value.reshape(shape[:-1]) if math.isfinite(value.detach().sum()) else None


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    """Whether a shape broadcasts to another, which stays as it is."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)


class _Fused(torch.autograd.Function):
    """The compiled kernel; it computes the gradients along with the value.

    It has to be told the weight of each cell in what is differentiated, before that is known: a
    training's loss is minus the mean. Where that was wrong, the gradients are scaled, or for
    cells of unequal weight computed once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        family: str,
        softmax: bool,
        parts: tuple[Tensor, ...],
        *rows: Tensor,
    ) -> Tensor:
        rows = tuple(tensor.contiguous() for tensor in rows)
        ctx.given = (family, softmax, parts)
        ctx.save_for_backward(*rows)
        n_rows = len(rows[0])
        ctx.weight = -1.0 / n_rows
        weights = torch.full((n_rows,), ctx.weight)
        value, ctx.gradients = _run(family, softmax, parts, rows, weights, True)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Any, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        weight = weights[0].item()
        equal = weights.stride(0) == 0 or bool((weights == weights[0]).all())
        if gradients is None or not equal:
            rows = ctx.saved_tensors
            family, softmax, parts = ctx.given
            _, gradients = _run(family, softmax, parts, rows, weights.contiguous(), True)
        elif not math.isclose(weight, ctx.weight, rel_tol=1e-6):
            for gradient in gradients:
                gradient.mul_(weight / ctx.weight)
        return None, None, None, *gradients


def _run(
    family: str,
    softmax: bool,
    parts: tuple[Tensor, ...],
    rows: tuple[Tensor, ...],
    weights: Tensor,
    want_gradient: bool,
) -> tuple[Tensor, list[Tensor] | None]:
    """Values ``(n_rows,)``, and the weighted sum's gradients by each of ``rows``."""
    from lucidvi.kernels._compiled_likelihoods import KERNELS, n_scratch

    logits, log_library = rows[:2]
    n_rows, n_genes = logits.shape
    n_cells = len(parts[0]) - 1
    n_parts = min(-(-n_cells // CELLS_PER_PART), MOST_PARTS) or 1
    n_threads = min(_team.n_threads(), n_parts)
    n_theta = len(rows[2]) if len(rows) > 2 else 0
    n_zi = len(rows[3]) if len(rows) > 3 else 0
    empty = logits.new_empty(0)
    value = torch.empty(n_rows)
    gradients = [torch.empty_like(tensor) for tensor in rows] if want_gradient else [empty] * 4
    by_theta = empty
    if want_gradient and len(rows) > 2:
        # Parts that share a dispersion sum its gradient apart, and are added in their order.
        by_theta = torch.zeros(n_parts if n_theta == 1 else n_theta, n_genes)
    kernel_tensors = [
        logits,
        log_library,
        rows[2] if len(rows) > 2 else empty,
        rows[3] if len(rows) > 3 else empty,
        *parts,
        weights,
        value,
        gradients[0],
        gradients[1],
        by_theta,
        gradients[3] if len(gradients) > 3 else empty,
        torch.empty(n_threads + 1, n_scratch(n_genes)),
        torch.zeros(1, dtype=torch.int64),  # how many of these are taken
    ]
    sizes = [n_cells, n_rows, n_genes, n_theta, n_zi, int(softmax), int(want_gradient)]
    addresses = [tensor.data_ptr() for tensor in kernel_tensors]
    _team.run(KERNELS[family], [*sizes, *addresses], n_parts, n_threads)
    if not want_gradient:
        return value, None
    if len(rows) > 2:
        gradients[2] = by_theta.sum(dim=0, keepdim=True) if n_theta == 1 else by_theta
    return value, gradients
