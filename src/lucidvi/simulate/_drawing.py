"""Draws from a model, without a trace, and the posteriors that they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributions import Distribution

from lucidvi._random import isolated
from lucidvi.inference import PosteriorTarget, refine

#: The values of ``posterior``: the distribution of all that is latent in the cells of a target.
POSTERIORS: dict[str, Callable[[PosteriorTarget], Distribution]] = {
    "encoder": lambda target: target.q0,
    "refined": lambda target: refine(target, "full").posterior.distribution,
}


@contextmanager
def drawing(model: Any, seed: int) -> Iterator[None]:
    """Evaluate the model and draw from a seed; global generators are as before at the end."""
    with isolated(seed, model.module), torch.no_grad():
        yield
