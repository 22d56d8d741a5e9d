"""All kernels are there before a training starts."""

import numpy as np
import torch

from lucidvi.kernels import (
    _compiled_csr,
    _compiled_layers,
    _compiled_likelihoods,
    _warm_up,
    warm_up,
)


def test_nothing_is_left_to_compile_and_nothing_is_drawn():
    torch.manual_seed(3)
    before, said = torch.get_rng_state(), []
    warm_up(lambda: said.append("first"), ["nb", "normal"])
    assert torch.equal(torch.get_rng_state(), before)
    assert len(said) <= 1
    compiled = (*_compiled_layers.KERNELS, _compiled_likelihoods.nb, _compiled_csr.sum_rows)
    assert all("compiled" in vars(kernel) for kernel in compiled)
    again = []
    warm_up(lambda: again.append("second"), ["nb"])
    assert again == []


def test_a_function_that_numba_has_to_compile_is_announced_once():
    from numba import njit
    from numba.core.event import install_listener

    said = []
    functions = [njit(lambda x: x + 1), njit(lambda x: x + 2)]
    with install_listener("numba:run_pass", _warm_up._Once(lambda: said.append(1))):
        assert [function(np.float32(1)) for function in functions] == [2, 3]
    assert said == [1]
