"""Modules that have their weights in common and differ in a part."""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def sharing(module: AnyModule, **parts: nn.Module) -> AnyModule:
    """Return a module of the same weights, of which some parts are others.

    Parameters
    ----------
    module
        The module; it is not changed.
    **parts
        Its other parts, by the names that they have in it.
    """
    shared = copy.copy(module)
    for table in ("_parameters", "_buffers", "_modules"):
        shared.__dict__[table] = dict(module.__dict__[table])
    for name, part in parts.items():
        setattr(shared, name, part)
    return shared


def with_bias_added(layer: nn.Linear, added: Tensor) -> nn.Linear:
    """Return a layer of the same weights whose bias is larger, of which gradients are taken.

    Parameters
    ----------
    layer
        The layer; it is not changed.
    added
        What the bias is larger by, of a shape that broadcasts to ``(n_outputs,)``.
    """
    shared: Any = sharing(layer)
    bias = layer.bias + added.to(layer.bias)
    del shared.bias
    shared.register_buffer("bias", bias)
    return cast(nn.Linear, shared)
