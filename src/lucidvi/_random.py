"""The one way to draw from a seed, and to evaluate a module, that leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn


@contextmanager
def isolated(seed: int | None = None, module: nn.Module | None = None) -> Iterator[None]:
    """Draw from a seed, and evaluate a module, and leave both as they were before.

    Every global generator is put back: Python's, NumPy's, and torch's of the CPU, of every CUDA
    device and of MPS. A CUDA that nothing has used yet is left alone: ``torch.manual_seed`` would
    leave it a seed for when it starts.

    Parameters
    ----------
    seed
        What the generators start from; None goes on with their present states.
    module
        A module that is in evaluation mode meanwhile; None for none.
    """
    with _isolated_generators(seed), nullcontext() if module is None else in_evaluation(module):
        yield


@contextmanager
def _isolated_generators(seed: int | None) -> Iterator[None]:
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if cuda else ()
    mps = torch.backends.mps.is_available()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    cpu = torch.get_rng_state()
    cuda_states = [torch.cuda.get_rng_state(device) for device in devices]
    mps_state = torch.mps.get_rng_state() if mps else None
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (what others draw from)
            torch.default_generator.manual_seed(seed)
            if cuda:
                torch.cuda.manual_seed_all(seed)
            if mps:
                torch.mps.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        for device, state in zip(devices, cuda_states, strict=True):
            torch.cuda.set_rng_state(state, device)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)


def state_of_cpu() -> torch.Tensor:
    """Return the state of torch's generator of the CPU."""
    return torch.get_rng_state()


def go_on_from(start: torch.Tensor | int) -> None:
    """Let torch draw from here on from a state of its generator of the CPU, or from a seed.

    For processes that train together, which have to agree on what they draw, or to differ.
    """
    if isinstance(start, int):
        torch.manual_seed(start)
    else:
        torch.set_rng_state(start)


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
