"""Compiling all kernels at once, before a training shows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numba.core.event import Listener, install_listener
from torch import nn

from lucidvi.kernels._layers import normal_heads, standard_normal_kl


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


def warm_up(say: Callable[[], None]) -> None:
    """Load the compiled kernels, or compile them.

    Parameters
    ----------
    say
        Called before the first of those that have to be compiled.
    """
    with install_listener("numba:run_pass", _Once(say)):
        from lucidvi.kernels import _compiled_csr, _compiled_layers, _compiled_likelihoods

        _ = _compiled_csr, _compiled_layers, _compiled_likelihoods
        # These are compiled when they are first called; no random number is drawn.
        heads = nn.utils.skip_init(nn.Linear, 1, 1), nn.utils.skip_init(nn.Linear, 1, 1)
        for weight in (*heads[0].parameters(), *heads[1].parameters()):
            nn.init.zeros_(weight)
        loc, scale = normal_heads(torch.ones(2, 1), *heads, 1e-4)
        standard_normal_kl(loc, scale).sum().backward()
