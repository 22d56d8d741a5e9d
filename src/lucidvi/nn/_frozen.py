"""Weights that are taken for constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*modules: nn.Module, but: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Take the weights for constants, so that no gradient of theirs is computed.

    Parameters
    ----------
    *modules
        Whose weights to freeze.
    but
        Parts of them whose weights are left as they are.
    """
    spared = {id(weight) for part in but for weight in part.parameters()}
    weights = [
        weight
        for module in modules
        for weight in module.parameters()
        if weight.requires_grad and id(weight) not in spared
    ]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
