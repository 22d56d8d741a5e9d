"""Log likelihoods, gradients and draws are those that were recorded before, seed by seed.

Recorded with torch 2.13 on the CPU at commit 67a087f, before likelihoods had one contract.
"""

import pytest
import torch

from lucidvi.distributions import LIKELIHOODS

#: Log likelihood of each cell, gradient of their mean by the logits of the first cell, and one
#: draw of all counts, row by row.
RECORDED = {
    "nb": (
        [-16.2261791, -15.2198772, -19.1602631, -15.329854, -14.9400558],
        [
            -0.032507788,
            -0.24853404,
            0.08428365,
            0.75531006,
            -0.089410812,
            -0.010537031,
            -0.45860407,
        ],
        [
            3,
            0,
            1,
            0,
            2,
            1,
            1,
            0,
            6,
            7,
            6,
            2,
            7,
            4,
            9,
            0,
            2,
            8,
            3,
            3,
            2,
            2,
            31,
            3,
            0,
            7,
            2,
            2,
            0,
            0,
            3,
            4,
            13,
            1,
            2,
        ],
    ),
    "zinb": (
        [-21.8523731, -14.9939375, -20.6422234, -20.1308575, -16.5831165],
        [-0.040052939, -0.16537307, 0.080556922, 0.74655986, -0.10524844, -0.01665218, -0.4997901],
        [
            3,
            0,
            0,
            0,
            2,
            0,
            1,
            0,
            6,
            0,
            0,
            2,
            0,
            0,
            9,
            0,
            2,
            8,
            3,
            3,
            0,
            2,
            31,
            0,
            0,
            0,
            2,
            0,
            0,
            0,
            3,
            0,
            13,
            0,
            0,
        ],
    ),
    "poisson": (
        [-17.0279827, -31.8049183, -31.2812748, -13.8767538, -18.768507],
        [
            -0.038680669,
            -0.36931589,
            0.082109772,
            0.92319912,
            -0.10100205,
            0.0065555233,
            -0.50286579,
        ],
        [
            2,
            3,
            0,
            1,
            1,
            0,
            4,
            2,
            5,
            5,
            8,
            5,
            18,
            6,
            7,
            7,
            4,
            9,
            2,
            8,
            3,
            2,
            8,
            1,
            1,
            5,
            2,
            4,
            0,
            2,
            4,
            7,
            4,
            0,
            3,
        ],
    ),
    "normal": (
        [-13.5749407, -158.93399, -35.1509933, -12.822752, -17.5585747],
        [
            -0.008820937,
            -0.151637,
            -0.0068601533,
            0.052037466,
            -0.025137981,
            0.046284538,
            0.094134063,
        ],
        None,
    ),
}


def parameters(name):
    """Five cells and seven genes."""
    generator = torch.Generator().manual_seed(3)
    draws = {
        "logits": torch.randn(5, 7, generator=generator),
        "log_library": 3 + torch.randn(5, 1, generator=generator),
        "log_theta": torch.randn(7, generator=generator),
        "zi_logits": torch.randn(5, 7, generator=generator),
    }
    x = torch.poisson(torch.rand(5, 7, generator=generator) * 4, generator=generator)
    names = ("logits", "log_library", *LIKELIHOODS[name].parameters)
    return {name: draws[name].requires_grad_() for name in names}, x


@pytest.mark.parametrize("name", RECORDED)
def test_numbers_are_those_recorded(name):
    log_likelihood, gradient, counts = RECORDED[name]
    tensors, x = parameters(name)
    px = LIKELIHOODS[name](**tensors)
    value = px.log_likelihood(x.to_sparse_csr())
    torch.testing.assert_close(value, torch.tensor(log_likelihood), rtol=2e-7, atol=0)
    value.mean().backward()
    found = tensors["logits"].grad[0]
    torch.testing.assert_close(found, torch.tensor(gradient), rtol=1e-6, atol=1e-7)
    if counts is not None:
        torch.manual_seed(0)
        drawn = LIKELIHOODS[name](**{k: v.detach() for k, v in tensors.items()}).sample((2,))
        assert drawn[0].flatten().tolist() == counts
