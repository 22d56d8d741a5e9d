"""Draws from a model, without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lucidvi._random import isolated


@contextmanager
def drawing(model: Any, seed: int) -> Iterator[None]:
    """Evaluate the model and draw from a seed; global generators are as before at the end."""
    with isolated(seed, model.module), torch.no_grad():
        yield
