"""Compiling what is needed at once, before a training shows how far it is, and saying so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.event import Listener, install_listener

#: What is told through here is seen without a handler, as scvi-tools' own news are.
news = logging.getLogger("scvi.lucidvi")

COMPILING = "Compiling kernels, once on this machine: a few seconds."


class _Once(Listener):
    """Calls a function when numba first compiles, which it does not for what it kept on disk."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def on_start(self, event: Any) -> None:
        function, self.function = self.function, None
        if function is not None:
            function()

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def announced() -> Iterator[None]:
    """Say so before what is compiled inside this block, where that is not kept on disk."""
    with install_listener("numba:run_pass", _Once(lambda: news.info(COMPILING))):
        yield


def warm_up(families: Iterable[str] = ()) -> None:
    """Load the compiled kernels of a training, or compile them.

    Those on sparse matrices are not among them: whether they are used, the first minibatch tells.

    Parameters
    ----------
    families
        Names of the families of counts, of which those that are compiled are taken.
    """
    with announced():
        from lucidvi.kernels import _compiled_csr, _compiled_layers, _compiled_likelihoods

        likelihoods = _compiled_likelihoods.KERNELS
        kernels = [
            *(likelihoods[name] for name in families if name in likelihoods),
            *_compiled_layers.KERNELS,
            _compiled_csr.sum_rows,
        ]
        for kernel in kernels:
            _ = kernel.address
