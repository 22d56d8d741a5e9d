"""Layers that behave for a while as they do after the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def in_evaluation(module: nn.Module, kind: type[nn.Module] = nn.Module) -> Iterator[None]:
    """Let the layers of a kind, by default all, do what they do after the training."""
    layers = [layer for layer in module.modules() if isinstance(layer, kind) and layer.training]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True


def frozen_batch_norm(module: nn.Module) -> AbstractContextManager[None]:
    """Let batch norm use its running statistics: one cell has no variance of its own."""
    return in_evaluation(module, _BatchNorm)
