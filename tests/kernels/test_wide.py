"""A layer with many outputs, in blocks, is torch's."""

import pytest
import torch
from torch.nn.functional import linear

from lucidvi.kernels import _wide, wide_linear


@pytest.fixture(params=[True, False], ids=["in blocks", "whole"])
def in_blocks(request, monkeypatch):
    monkeypatch.setattr(_wide, "helps", lambda: request.param)
    return request.param


@pytest.mark.parametrize("n_genes", [5, _wide.WIDE, _wide.WIDE + _wide.BLOCK + 3])
def test_wide_linear(in_blocks, n_genes):
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 8), (n_genes, 8), (n_genes,))
    leaves = [torch.randn(shape, generator=generator) for shape in shapes]
    weights = torch.randn(6, n_genes, generator=generator)
    results = []
    for function, dtype in ((wide_linear, torch.float32), (linear, torch.float64)):
        given = [leaf.to(dtype).detach().clone().requires_grad_() for leaf in leaves]
        value = function(*given)
        value.backward(weights.to(dtype))
        results.append([value, *(leaf.grad for leaf in given)])
    blocked = results[0][0].grad_fn.name() != "AddmmBackward0"
    assert blocked == (in_blocks and n_genes >= _wide.WIDE)
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)
