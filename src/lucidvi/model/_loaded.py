"""Whether the module of a saved model is one that its weights can be of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lucidvi._random import isolated
from lucidvi.errors import FileError

#: Weights, by name, of the file that is being loaded.
_WEIGHTS: ContextVar[Mapping[str, Any] | None] = ContextVar("weights", default=None)
#: How many times the weights in a file its module may have, and how many more in any case.
MOST_TIMES, ANYWAY = 2, 10**6
#: What no weight comes near, and what can be squared.
LARGEST = 1e15
REMEDY = "copy or download it again; if it is as it was written, train and save a new model."


@contextmanager
def module_fits(weights: Mapping[str, Any]) -> Iterator[None]:
    """Refuse, in the body, modules far larger than some weights, before any memory is taken.

    Parameters
    ----------
    weights
        What a file holds; the sizes of the module are arguments, which it holds as well.
    """
    token = _WEIGHTS.set(weights)
    try:
        yield
    finally:
        _WEIGHTS.reset(token)


def check_module(make: Callable[[], nn.Module], arguments: Mapping[str, Any]) -> None:
    """Raise :class:`FileError` for a module that is far larger than the weights being loaded.

    Parameters
    ----------
    make
        Makes the module.
    arguments
        Its arguments.
    """
    weights = _WEIGHTS.get()
    if weights is None:
        return
    found = sum(value.numel() for value in weights.values() if isinstance(value, Tensor))
    n_layers = arguments.get("n_layers", 1)
    if isinstance(n_layers, int) and n_layers > len(weights):
        raise _too_large(f"{n_layers:,} layers", found)
    try:
        with isolated(), torch.device("meta"):  # shapes without values
            state = make().state_dict()
    except NotImplementedError:  # of flows, some of whose values are made by computing
        return
    size = sum(value.numel() for value in state.values())
    if size > MOST_TIMES * found + ANYWAY:
        raise _too_large(f"{size:,} weights", found)


def _too_large(size: str, found: int) -> FileError:
    return FileError(
        f"The arguments in the file make a model of {size}, and it holds {found:,} weights.",
        remedy=REMEDY,
    )


def check_finite(module: nn.Module, path: Path) -> None:
    """Raise :class:`FileError` if a weight is NaN, infinite or absurd.

    Parameters
    ----------
    module
        Module with the weights of a file.
    path
        The file.
    """
    values: dict[str, Tensor] = dict(module.named_parameters())
    for layer_name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm):
            values |= {f"{layer_name}.{name}": value for name, value in layer.named_buffers()}
            if layer.running_var is not None:  # the root of a negative one is NaN
                values[f"{layer_name}.running_var"] = layer.running_var.sqrt()
    for name, value in values.items():
        if not (value.abs() < LARGEST).all():
            raise FileError(
                f"{path} holds weights that are NaN, infinite or absurd: {name!r}.",
                remedy=REMEDY,
            )
