"""Batch norm that behaves for a while as it does after the training."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lucidvi._random import in_evaluation


def frozen_batch_norm(module: nn.Module) -> AbstractContextManager[None]:
    """Let batch norm use its running statistics: one cell has no variance of its own."""
    return in_evaluation(module, _BatchNorm)
