"""Results do not depend on where in memory the numbers lie, or a seed would not fix a training."""

import pytest
import torch
from torch import nn

from lucidvi import kernels
from lucidvi.distributions import ZeroInflatedNegativeBinomial

N_CELLS, N_GENES, N_HIDDEN = 37, 53, 40
OFFSETS = (0, 1, 4, 7, 8, 12)


def at(tensor, offset):
    """Return the same numbers, an offset of so many numbers further in memory."""
    place = torch.empty(tensor.numel() + offset, dtype=tensor.dtype)
    return place[offset:].view(tensor.shape).copy_(tensor).requires_grad_(tensor.requires_grad)


def product(x, weight, bias, offset):
    parts = (x.crow_indices(), x.col_indices(), x.values())
    moved = kernels.csr(*(at(part, offset) for part in parts), N_GENES)
    by_gene = at(weight.t().contiguous(), offset).t()
    return kernels.linear(moved, by_gene, at(bias, offset))


def numbers(offset):
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((N_CELLS, N_GENES), 0.1), generator)
    x = kernels.as_csr(counts)
    weight = torch.randn(N_HIDDEN, N_GENES, generator=generator)
    hidden = product(x, weight, torch.randn(N_HIDDEN, generator=generator), offset)
    activated = at(hidden, offset).requires_grad_()
    units = kernels.activate(activated, nn.BatchNorm1d(N_HIDDEN))
    units.square().sum().backward()
    rows = [
        at(torch.randn(N_CELLS, N_GENES, generator=generator), offset).requires_grad_()
        for _ in range(2)
    ]
    log_theta = at(torch.randn(N_GENES, generator=generator), offset).requires_grad_()
    log_library = at(torch.full((N_CELLS, 1), 3.0), offset)
    value = kernels.log_likelihood(
        ZeroInflatedNegativeBinomial, rows[0], log_library, x, log_theta, rows[1]
    )
    value.mean().neg().backward()
    loc, scale = (at(torch.rand(N_CELLS, 3, generator=generator) + 0.1, offset) for _ in "ab")
    kl = kernels.standard_normal_kl(loc.requires_grad_(), scale.requires_grad_())
    kl.sum().backward()
    gradients = [tensor.grad for tensor in (activated, *rows, log_theta, loc, scale)]
    return [hidden, units, value, kl, kernels.row_sums(x), *gradients]


@pytest.mark.parametrize("offset", OFFSETS[1:])
def test_bits_are_the_same_wherever_the_numbers_lie(offset):
    for want, got in zip(numbers(0), numbers(offset), strict=True):
        assert torch.equal(want, got)
