"""The fused parts of a network against torch's layers in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from lucidvi.kernels import (
    activate,
    can_activate,
    normal_heads,
    plain_torch,
    standard_normal_kl,
)

SHAPES = [(2, 1), (3, 5), (128, 128), (129, 70), (1000, 33)]


def draw_norm(n, seed=0):
    """Batch norm as scvi-tools makes it, with weights and statistics of its own."""
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm1d(n, momentum=0.01, eps=0.001)
    with torch.no_grad():
        norm.weight.uniform_(-2, 2, generator=generator)
        norm.bias.normal_(generator=generator)
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.1, 3, generator=generator)
    return norm


def gradients_of(function, *leaves):
    """Value of a function, and gradients of a weighted sum of it."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    value = function(*leaves)
    weights = torch.linspace(-1, 2, value.numel()).to(value.dtype).view_as(value)
    (value * weights).sum().backward()
    return value.detach(), [leaf.grad for leaf in leaves]


def assert_same(got, want, tolerance=2e-5):
    scale = max(1.0, float(want.abs().max()))
    torch.testing.assert_close(got.double(), want.double(), rtol=tolerance, atol=tolerance * scale)


# -- batch norm, ReLU, dropout ----------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_activate_is_batch_norm_and_relu(shape, offset):
    x = offset + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours, exact = draw_norm(shape[1]), draw_norm(shape[1]).double()
    got, (by_x, by_weight, by_bias) = gradients_of(
        lambda x, w, b: activate(x, with_parameters(ours, w, b)), x, ours.weight, ours.bias
    )
    want, wanted = gradients_of(
        lambda x, w, b: with_parameters(exact, w, b)(x).relu(), x.double(), *exact.parameters()
    )
    assert_same(got, want)
    for one, other in zip((by_x, by_weight, by_bias), wanted, strict=True):
        assert_same(one, other, 2e-4)  # a difference of sums over the cells
    assert_same(ours.running_mean, exact.running_mean)
    assert_same(ours.running_var, exact.running_var)
    assert ours.num_batches_tracked == 1


def with_parameters(norm, weight, bias):
    """Return the same layer with tensors in place of its parameters."""
    other = copy.copy(norm)
    other._parameters = {"weight": weight, "bias": bias}
    return other


def test_of_weights_that_do_not_learn():
    norm = draw_norm(6).requires_grad_(False)
    x = torch.randn(9, 6, requires_grad=True)
    activate(x, norm).sum().backward()
    assert x.grad is not None
    assert norm.weight.grad is None


def test_of_gradients_that_are_not_contiguous():
    norm, x = draw_norm(6), torch.randn(9, 6)
    weights = torch.randn(6, 9).t()
    assert not weights.is_contiguous()
    _, (got,) = gradients_of(lambda x: (activate(x, norm) * weights).sum(), x)
    _, (want,) = gradients_of(lambda x: (activate(x, norm) * weights.contiguous()).sum(), x)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_dropout_is_that_of_torch(rate, shape):
    """The same units, and gradients of what was kept."""
    x, ours, exact = torch.randn(shape), draw_norm(shape[1]), draw_norm(shape[1]).double()
    torch.manual_seed(5)
    got, (by_x,) = gradients_of(lambda x: activate(x, ours, rate), x)
    after = torch.rand(3)
    torch.manual_seed(5)
    kept = nn.functional.dropout(torch.ones(shape), rate)
    torch.testing.assert_close(torch.rand(3), after)  # and no other random numbers
    want, (wanted,) = gradients_of(lambda x: exact(x).relu() * kept, x.double())
    assert_same(got, want)
    assert_same(by_x, wanted, 2e-4)
    assert torch.equal(got[kept == 0], torch.zeros_like(got[kept == 0]))


def test_activate_does_not_hide_nan():
    x = torch.randn(5, 4)
    x[2, 1] = torch.nan
    out = activate(x, draw_norm(4), 0.0)
    assert out[:, 1].isnan().all()
    assert out[:, [0, 2, 3]].isfinite().all()


def test_where_activate_applies():
    x, norm = torch.randn(5, 4), draw_norm(4)
    assert can_activate(x, norm, 0.1)
    assert not can_activate(x, draw_norm(4).eval(), 0.1)
    assert not can_activate(x.double(), draw_norm(4).double(), 0.1)
    assert not can_activate(x[:1], norm, 0.1)
    assert not can_activate(x[None], norm, 0.1)
    assert not can_activate(x, norm, 1.0)
    assert not can_activate(x, nn.BatchNorm1d(4, affine=False), 0.1)
    assert not can_activate(x, nn.BatchNorm1d(4, track_running_stats=False), 0.1)
    assert not can_activate(x, nn.BatchNorm1d(4, momentum=None), 0.1)
    with plain_torch():
        assert not can_activate(x, norm, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_activate(x, norm, 0.1)


# -- the posterior ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("n_cells", [1, 6, 128])
def test_normal_heads(size, n_cells):
    """Also where exp would underflow or overflow."""
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(n_cells, 5, generator=generator)
    layers = [nn.Linear(5, 3), nn.Linear(5, 3)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(generator=generator)
            layer.bias.fill_(0.3)
        layers[1].weight *= size
    exact = [copy.deepcopy(layer).double() for layer in layers]
    for i in (0, 1):
        got, (by_hidden,) = gradients_of(lambda h, i=i: normal_heads(h, *layers, 1e-4)[i], hidden)
        want, (wanted,) = gradients_of(lambda h, i=i: by_formula(h, *exact)[i], hidden.double())
        assert_same(got, want)
        assert_same(by_hidden, wanted, 1e-4)
    for ours, theirs in zip(layers, exact, strict=True):
        assert_same(ours.weight.grad, theirs.weight.grad, 1e-4)
        assert_same(ours.bias.grad, theirs.bias.grad, 1e-4)
    with plain_torch():
        plain = normal_heads(hidden, *layers, 1e-4)
    for one, other in zip(plain, by_formula(hidden, *layers), strict=True):
        torch.testing.assert_close(one, other)


def by_formula(hidden, mean, log_variance):
    return mean(hidden), (log_variance(hidden).clamp(max=20.0).exp() + 1e-4).sqrt()


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_kl(scale):
    loc = torch.randn(9, 4) * scale
    scale = scale * (0.1 + torch.rand(9, 4))

    def by_torch(loc, scale):
        unit = Normal(torch.zeros_like(loc), torch.ones_like(loc))
        return kl_divergence(Normal(loc, scale), unit).sum(-1)

    got, gradients = gradients_of(standard_normal_kl, loc, scale)
    want, wanted = gradients_of(by_torch, loc.double(), scale.double())
    for one, other in zip((got, *gradients), (want, *wanted), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=1e-5)
    with plain_torch():
        torch.testing.assert_close(standard_normal_kl(loc, scale), got)
    several = standard_normal_kl(loc.expand(2, 9, 4), scale.expand(2, 9, 4))
    torch.testing.assert_close(several, got.expand(2, 9))
