"""The functions of torch that a saved model may name, as arguments of its constructor."""

from __future__ import annotations

from typing import Any

import torch

_FUNCTIONS = (
    *("torch.exp", "torch.abs", "torch.sigmoid", "torch.tanh", "torch.relu", "torch.square"),
    *("torch.selu", "torch.nn.functional.relu", "torch.nn.functional.relu6"),
    *("torch.nn.functional.leaky_relu", "torch.nn.functional.elu", "torch.nn.functional.selu"),
    *("torch.nn.functional.gelu", "torch.nn.functional.silu", "torch.nn.functional.mish"),
    *("torch.nn.functional.softplus", "torch.nn.functional.sigmoid"),
    *("torch.nn.functional.tanh", "torch.nn.functional.hardtanh"),
)
_CLASSES = (
    *("ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish"),
    *("Softplus", "Sigmoid", "Tanh", "Hardtanh"),
)


def _resolve(name: str) -> Any:
    value: Any = torch
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


#: The name by which an activation is stored, and the activation.
ACTIVATIONS: dict[str, Any] = {
    **{name: _resolve(name) for name in _FUNCTIONS},
    **{f"torch.nn.{name}": getattr(torch.nn, name) for name in _CLASSES},
}

#: The name by which pickle refers to an activation, and the name in ``ACTIVATIONS``.
GLOBAL_NAMES: dict[str, str] = {
    f"{value.__module__}.{value.__qualname__}": name
    for name, value in ACTIVATIONS.items()
    if getattr(value, "__module__", None)
}


def name_of(value: Any) -> str | None:
    """Return the name of a known activation, else None."""
    return next((name for name, activation in ACTIVATIONS.items() if activation is value), None)
