"""Compiling what a training needs at once, before it shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from numba.core.event import Listener, install_listener


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


def warm_up(say: Callable[[], None], families: Iterable[str] = ()) -> None:
    """Load the compiled kernels of a training, or compile them.

    Those on sparse matrices are not among them: whether they are used, the first minibatch tells.

    Parameters
    ----------
    say
        Called before the first of those that have to be compiled.
    families
        Names of the families of counts, of which those that are compiled are taken.
    """
    with install_listener("numba:run_pass", _Once(say)):
        from lucidvi.kernels import _compiled_csr, _compiled_layers, _compiled_likelihoods

        likelihoods = _compiled_likelihoods.KERNELS
        kernels = [
            *(likelihoods[name] for name in families if name in likelihoods),
            *_compiled_layers.KERNELS,
            _compiled_csr.sum_rows,
        ]
        for kernel in kernels:
            _ = kernel.address
