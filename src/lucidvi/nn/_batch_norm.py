"""Batch norm over the rows of a minibatch that several processes share."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lucidvi._ranks import Ranks, computing


def is_shared(layer: nn.Module) -> bool:
    """Whether a layer is a batch norm whose statistics are those of several processes."""
    return isinstance(layer, nn.BatchNorm1d) and layer.training and computing().are_several


def shared_batch_norm(layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
    r"""Normalize rows by mean and variance of the rows of all processes.

    .. math:: w \frac{x - m}{\sqrt{v + \epsilon}} + b

    The running statistics follow, the same in all processes.

    Parameters
    ----------
    layer
        What holds weight :math:`w`, bias :math:`b` and the running statistics.
    x
        Rows of this process, shape ``(n_rows, n_columns)``.
    """
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    return _SharedBatchNorm.apply(x, layer.weight, layer.bias, layer, computing())


class _SharedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.BatchNorm1d, ranks: Ranks
    ) -> Tensor:
        mean, variance, n = _moments(x, ranks)
        if layer.running_mean is not None:
            _follow(layer, mean, variance * (n / (n - 1)))
        reciprocal = (variance + layer.eps).rsqrt()
        reciprocal, mean = reciprocal.to(x.dtype), mean.to(x.dtype)
        unit = (x - mean).mul_(reciprocal)
        ctx.ranks = ranks
        ctx.save_for_backward(weight, unit, reciprocal, n.to(x.dtype))
        return torch.addcmul(bias, unit, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, unit, reciprocal, n = ctx.saved_tensors
        by_bias, by_weight = gradient.sum(dim=0), (gradient * unit).sum(dim=0)
        means = ctx.ranks.add_up(torch.cat([by_bias, by_weight])).div_(n)
        of_one, of_unit = means.chunk(2)
        by_x = torch.addcmul(gradient - of_one, unit, of_unit, value=-1).mul_(weight * reciprocal)
        return by_x, by_weight, by_bias, None, None


def _moments(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the rows of all processes, in double precision, and their number."""
    variance, mean = torch.var_mean(x, dim=0, correction=0)
    # Squares lose digits where a mean is far from zero.
    mean, n = mean.double(), mean.new_tensor([len(x)], dtype=torch.float64)
    sums = ranks.add_up(torch.cat([n, len(x) * mean, len(x) * (variance + mean.square())]))
    mean, square = (sums[1:] / sums[0]).chunk(2)
    return mean, (square - mean.square()).clamp_(min=0), sums[0]


def _follow(layer: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of a minibatch."""
    for running, now in ((layer.running_mean, mean), (layer.running_var, variance)):
        cast(Tensor, running).lerp_(now.to(cast(Tensor, running)), cast(float, layer.momentum))
