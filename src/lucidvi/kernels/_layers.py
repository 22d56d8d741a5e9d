"""What lies between the matrix products of a network, each in one node of the graph.

The small operations of a training step cost more by their number than by their arithmetic.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from lucidvi.kernels import _team

# -- hidden units -----------------------------------------------------------------------------


def can_activate(x: Tensor, norm: nn.BatchNorm1d, dropout_rate: float) -> bool:
    """Whether :func:`activate` applies: a training on the CPU, in float32."""
    return (
        norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and x.ndim == 2
        and len(x) > 1
        and 0 <= dropout_rate < 1
        and x.dtype == norm.weight.dtype == torch.float32
        and _team.usable(x)
        and not torch.is_autocast_enabled("cpu")
    )


def activate(x: Tensor, norm: nn.BatchNorm1d, dropout_rate: float = 0.0) -> Tensor:
    r"""Batch norm, ReLU and dropout of hidden units, in a training.

    .. math:: d \, \max\left(0, w \frac{x - m}{\sqrt{v + \epsilon}} + b\right)

    with mean :math:`m` and variance :math:`v` of the minibatch, which also update the running
    ones, and :math:`d` zero with probability ``dropout_rate``, else the reciprocal of one minus
    that. What is dropped is what :class:`torch.nn.Dropout` drops.

    Parameters
    ----------
    x
        Shape ``(n_cells, n_hidden)``, for which :func:`can_activate` holds.
    norm
        The batch norm, whose running statistics are updated.
    dropout_rate
        Probability of being dropped.
    """
    cast(Tensor, norm.num_batches_tracked).add_(1)
    return _Activate.apply(x, norm.weight, norm.bias, norm, dropout_rate)


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm1d,
        dropout_rate: float,
    ) -> Tensor:
        from lucidvi.kernels._compiled_layers import activate as kernel

        x = x.contiguous()
        n_columns = x.shape[1]
        options = np.array([norm.momentum, norm.eps, 1 / (1 - dropout_rate)])
        kept = torch.empty_like(x).bernoulli_(1 - dropout_rate) if dropout_rate > 0 else x[:0]
        statistics = x.new_empty(2, n_columns)
        normalized, out = torch.empty_like(x), torch.empty_like(x)
        sums = x.new_empty(2, n_columns)
        running = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        tensors = (kept, x, weight, bias, *running, statistics, normalized, out, sums)
        _share_columns(kernel, [*x.shape, len(kept)], options, tensors)
        ctx.options = options
        ctx.save_for_backward(weight, statistics, normalized, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from lucidvi.kernels._compiled_layers import activate_backward as kernel

        weight, statistics, normalized, out = ctx.saved_tensors
        gradient = gradient.contiguous()
        by_x, by_weight, by_bias = map(torch.empty_like, (out, weight, weight))
        sums, terms = out.new_empty(2, out.shape[1]), out.new_empty(3, out.shape[1])
        given = (gradient, weight, statistics, normalized, out)
        results = (by_x, by_weight, by_bias, sums, terms)
        _share_columns(kernel, list(out.shape), ctx.options, (*given, *results))
        return by_x, by_weight, by_bias, None, None


#: Entries from which more than one thread is worth it.
LARGE = 8_192


def _share_columns(
    kernel: Any, sizes: list[int], options: np.ndarray, tensors: tuple[Tensor, ...]
) -> None:
    n_parts = min(_team.n_threads(), sizes[1]) if sizes[0] * sizes[1] >= LARGE else 1
    _run(kernel, [*sizes, options.ctypes.data], tensors, n_parts)


def _run(kernel: Any, given: list[int], tensors: tuple[Tensor, ...], n_parts: int = 1) -> None:
    _team.run(kernel, [*given, *(tensor.data_ptr() for tensor in tensors)], n_parts)


# -- the posterior ----------------------------------------------------------------------------

#: Largest log variance that is exponentiated: an untrained or diverging encoder then gives a
#: very wide posterior, where exp would overflow to infinity.
LOG_VARIANCE_MAX = np.float32(20.0)


def normal_heads(
    hidden: Tensor, mean: nn.Linear, log_variance: nn.Linear, eps: float
) -> tuple[Tensor, Tensor]:
    r"""Mean, and standard deviation :math:`\sqrt{\exp(\cdot) + \epsilon}`, by two linear layers.

    Parameters
    ----------
    hidden
        Shape ``(n_cells, n_hidden)``.
    mean, log_variance
        The layers.
    eps
        Smallest variance.

    Returns
    -------
    Each of shape ``(n_cells, n_output)``.
    """
    weights = (mean.weight, mean.bias, log_variance.weight, log_variance.bias)
    plain = not _team.usable(hidden) or torch.is_autocast_enabled("cpu") or hidden.ndim != 2
    if plain or any(tensor.dtype != torch.float32 for tensor in (hidden, *weights)):
        raw = log_variance(hidden).clamp(max=float(LOG_VARIANCE_MAX))
        return mean(hidden), (raw.exp() + eps).sqrt()
    return _NormalHeads.apply(hidden, *weights, eps)


class _NormalHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
        from lucidvi.kernels._compiled_layers import normal_of

        *weights, eps = given
        weight = torch.cat(weights[::2])
        heads = linear(hidden, weight, torch.cat(weights[1::2]))
        shape = (len(hidden), len(weight) // 2)
        loc, scale = hidden.new_empty(shape), hidden.new_empty(shape)
        ctx.options = np.array([eps, LOG_VARIANCE_MAX])
        _run(normal_of, [*shape, ctx.options.ctypes.data], (heads, loc, scale))
        ctx.save_for_backward(hidden, weight, heads, scale)
        return loc, scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loc: Tensor, by_scale: Tensor) -> tuple[Tensor | None, ...]:
        from lucidvi.kernels._compiled_layers import normal_of_backward

        hidden, weight, heads, scale = ctx.saved_tensors
        by_heads = torch.empty_like(heads)
        tensors = (heads, scale, by_loc.contiguous(), by_scale.contiguous(), by_heads)
        _run(normal_of_backward, [*scale.shape, ctx.options.ctypes.data], tensors)
        n = scale.shape[1]
        by_weight, by_bias = by_heads.t() @ hidden, by_heads.sum(dim=0)
        first = by_heads @ weight, by_weight[:n], by_bias[:n]
        return *first, by_weight[n:], by_bias[n:], None


def standard_normal_kl(loc: Tensor, scale: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of normals from the standard normal, in nats.

    .. math:: \tfrac{1}{2} \sum_k (\mu_k^2 + \sigma_k^2 - 1) - \log \sigma_k

    Parameters
    ----------
    loc, scale
        Mean and standard deviation, ``(..., n_latent)``.

    Returns
    -------
    Shape ``(...,)``.
    """
    fits = loc.ndim == 2 and loc.dtype == scale.dtype == torch.float32
    if fits and loc.shape == scale.shape and _team.usable(loc):
        return _StandardNormalKL.apply(loc.contiguous(), scale.contiguous())
    return (loc.square() + scale.square() - 1 - 2 * scale.log()).sum(dim=-1) / 2


class _StandardNormalKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor) -> Tensor:
        from lucidvi.kernels._compiled_layers import kl

        ctx.save_for_backward(loc, scale)
        out = loc.new_empty(len(loc))
        _run(kl, [*loc.shape], (loc, scale, out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        from lucidvi.kernels._compiled_layers import kl_backward

        loc, scale = ctx.saved_tensors
        by_loc, by_scale = torch.empty_like(loc), torch.empty_like(scale)
        tensors = (gradient.contiguous(), loc, scale, by_loc, by_scale)
        _run(kl_backward, [*loc.shape], tensors)
        return by_loc, by_scale
