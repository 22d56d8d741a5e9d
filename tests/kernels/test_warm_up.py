"""All kernels are there before a training starts."""

import os
import subprocess
import sys

import numpy as np
import torch

from lucidvi.kernels import (
    _compiled_csr,
    _compiled_layers,
    _compiled_likelihoods,
    _warm_up,
    warm_up,
)


def test_nothing_is_left_to_compile_and_nothing_is_drawn(monkeypatch):
    said = []
    monkeypatch.setattr(_warm_up.news, "info", said.append)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    warm_up(["nb", "normal"])
    assert torch.equal(torch.get_rng_state(), before)
    assert len(said) <= 1
    compiled = (*_compiled_layers.KERNELS, _compiled_likelihoods.nb, _compiled_csr.sum_rows)
    assert all("compiled" in vars(kernel) for kernel in compiled)
    said.clear()
    warm_up(["nb"])
    assert said == []


def test_a_function_that_numba_has_to_compile_is_announced_once(monkeypatch):
    from numba import njit

    said = []
    monkeypatch.setattr(_warm_up.news, "info", said.append)
    functions = [njit(lambda x: x + 1), njit(lambda x: x + 2)]
    with _warm_up.announced():
        assert [function(np.float32(1)) for function in functions] == [2, 3]
    assert said == [_warm_up.COMPILING]


STATES = """
import logging, sys, torch
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
from lucidvi import kernels
torch.manual_seed(0)
x, weight = torch.poisson(torch.rand(3, 20)), torch.randn(20, 2)
counts = kernels.StateCounts.of("poisson", x, weight, {})
print("ready")
kernels.log_likelihood_of_states(
    counts, torch.rand(3, 2, 2), torch.zeros(3, 2), weight, torch.zeros(20), True
)
"""


def test_states_are_announced_where_their_kernels_are_not_kept(tmp_path):
    """In a first process, before the answer, and not in a second."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", STATES]
    said = [
        subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
        for _ in range(2)
    ]
    assert [text.count("Compiling kernels") for text in said] == [1, 0]
    assert said[0].index("Compiling kernels") < said[0].index("ready")
