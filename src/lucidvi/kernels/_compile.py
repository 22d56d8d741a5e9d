"""How kernels are compiled: when they are first called, and kept on disk where there is a place.

What a first training waits for is how much there is to compile, so the rules are:

- A kernel is compiled when it is first called (:func:`kernel`), for one case each: a training
  compiles what its model needs.
- What it is made of (:func:`part`) takes pointers and lengths, not arrays: an array is seven
  numbers for the compiler, and each slice of one, each shape, each ``a[:] = b`` is code.
- Functions that take arrays (:func:`compiled`) are for what comes in several types. They fill
  arrays that they are given.
"""

# Nothing that numba compiles is annotated: it infers the types.

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

from numba import cfunc, njit, types

logger = logging.getLogger(__name__)

# Sums may be reordered and products fused; NaN and infinities keep their meaning.
OPTIONS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "error_model": "numpy",
    "boundscheck": False,
}

WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

NOT_KEPT = (
    "Compiled kernels cannot be kept on disk, so each process compiles them anew, for some "
    "seconds: set NUMBA_CACHE_DIR to a folder that can be written to."
)


def part(function: Callable[..., Any]) -> Any:
    """Let kernels call a function; Python cannot, which spares its wrappers."""
    return njit(**OPTIONS, **WITHOUT_WRAPPERS)(function)


def without_infinities(function: Callable[..., Any]) -> Any:
    """Do as :func:`part` does, for what neither takes nor returns infinities."""
    options = OPTIONS | {"fastmath": {*OPTIONS["fastmath"], "ninf"}}
    return njit(**options, **WITHOUT_WRAPPERS)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Put a function into the kernel that calls it, where that is at one place."""
    return njit(inline="always", **OPTIONS)(function)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for Python, once for each combination of types that it is called with."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        try:
            dispatcher.enable_caching()
        except RuntimeError:  # numba finds no folder
            _say_not_kept()
        return dispatcher

    return decorate


class kernel:
    """A C function of one argument, the address of numbers; compiled when first called.

    Parameters
    ----------
    function
        What numba compiles.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    @cached_property
    def compiled(self) -> Any:
        """What ``numba.cfunc`` makes."""
        signature = types.void(types.voidptr)
        with _no_collecting():
            try:
                return cfunc(signature, cache=True, **OPTIONS)(self.function)
            except (RuntimeError, OSError):  # numba finds no folder, or cannot write there
                _say_not_kept()
                return cfunc(signature, **OPTIONS)(self.function)

    @cached_property
    def address(self) -> int:
        """Address of the compiled function."""
        return self.compiled.address

    @cached_property
    def ctypes(self) -> Any:
        """The compiled function, for Python."""
        return self.compiled.ctypes


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Spare the compiler what Python's collector of garbage does: to look at all torch is made of.

    It would do so several times, a third of a second each.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def _say_not_kept() -> None:
    logger.warning(NOT_KEPT)
