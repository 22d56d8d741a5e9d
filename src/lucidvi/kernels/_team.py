"""Threads for the compiled kernels: torch's own.

Two pools of threads on the same cores wait for each other: after a parallel region of torch its
threads spin for a while, so that the next one starts at once, and keep another pool off the
cores meanwhile. So the kernels are run by the OpenMP runtime that torch has loaded. Where there
is none (macOS, Windows), one thread does the work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch


@cache
def _parallel() -> Any:
    """``GOMP_parallel`` of the runtime that torch uses, or None."""
    if "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        parallel = ctypes.CDLL("libgomp.so.1").GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return parallel


class _Switch:
    """Whether the compiled kernels are switched off."""

    off = False


@contextmanager
def plain_torch() -> Iterator[None]:
    """Compute in plain torch, which torch can trace and compile, inside this block."""
    before, _Switch.off = _Switch.off, True
    try:
        yield
    finally:
        _Switch.off = before


def usable(x: torch.Tensor) -> bool:
    """Whether the compiled kernels take a tensor: on the CPU, unless they are switched off."""
    return x.device.type == "cpu" and not _Switch.off


def n_threads() -> int:
    """How many threads :func:`run` uses: as many as torch, where they can be shared."""
    return 1 if _parallel() is None else torch.get_num_threads()


def run(kernel: Any, arguments: list[int], n_parts: int, n_started: int | None = None) -> None:
    """Let a team of threads run a compiled kernel, each with a part of the work.

    Parameters
    ----------
    kernel
        What ``numba.cfunc`` made.
    arguments
        Sizes and addresses, from the third argument of the kernel on; the first two are the
        number that the next thread takes and the number of parts.
    n_parts
        In how many parts the work is cut.
    n_started
        Threads, at most :func:`n_threads`; by default one a part. With fewer threads than parts,
        the kernel has to take parts until none is left.
    """
    n_started = n_parts if n_started is None else n_started
    given = np.array([0, n_parts, *arguments], dtype=np.int64)
    address = given.__array_interface__["data"][0]
    if n_started == 1:
        kernel.ctypes(address)
    else:
        _parallel()(kernel.address, address, n_started, 0)
        while given[0] < n_parts:  # OpenMP may start fewer threads than it was asked for
            kernel.ctypes(address)
