"""The one way to draw from a seed, and to evaluate a module, that leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def isolated(
    seed: int | None = None, module: nn.Module | None = None, state: Tensor | None = None
) -> Iterator[None]:
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
    state
        State from which torch's generator of the CPU goes on meanwhile, in place of a seed.
    """
    with (
        _isolated_generators(seed, state),
        nullcontext() if module is None else in_evaluation(module),
    ):
        yield


@contextmanager
def _isolated_generators(seed: int | None, state: Tensor | None) -> Iterator[None]:
    states = generator_states()
    try:
        if seed is not None:
            seed = int(seed)  # Python takes none of NumPy's
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (what others draw from)
            torch.default_generator.manual_seed(seed)
            if states["cuda"]:
                torch.cuda.manual_seed_all(seed)
            if states["mps"] is not None:
                torch.mps.manual_seed(seed)
        if state is not None:
            torch.set_rng_state(state)
        yield
    finally:
        put_generators_back(states)


def generator_states() -> dict[str, Any]:
    """Return the states of all global generators, of plain types and tensors.

    A CUDA that nothing has used yet has none.
    """
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if cuda else ()
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 (what others draw from)
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device) for device in devices],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def put_generators_back(states: dict[str, Any]) -> None:
    """Let all global generators go on from these states.

    Parameters
    ----------
    states
        What :func:`generator_states` returned, here or on a machine with other devices, whose
        generators are then left alone.
    """
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002 (what others draw from)
    torch.set_rng_state(states["torch"])
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for device, state in zip(range(n_devices), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state, device)
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


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
