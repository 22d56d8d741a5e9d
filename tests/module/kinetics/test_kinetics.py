"""Formulas of the kinetics of splicing, against numbers."""

import pytest
import torch

from lucidvi.module.kinetics import (
    Decoded,
    KineticVAE,
    Molecules,
    log_positive_slope,
    positive,
    with_totals_met,
)

N_GENES, N_LATENT = 12, 3


@pytest.fixture(params=[1, 2], ids=["one layer", "two layers"])
def module(request):
    torch.manual_seed(0)
    module = KineticVAE(N_GENES, n_latent=N_LATENT, n_layers=request.param, n_batch=2)
    kinetics = module.kinetics
    kinetics.splice_weight.normal_(0, 0.2)
    kinetics.splice_bias.normal_()
    kinetics.hidden_mean.fill_(0.3)
    kinetics.log_ratio.fill_(-1.2)
    return module.double().eval()


@pytest.fixture
def states():
    torch.manual_seed(1)
    return torch.randn(5, N_LATENT).double()


@pytest.fixture
def s():
    batch = torch.tensor([0, 1, 1, 0, 1])[:, None]
    return {"batch": batch, "labels": None, "categorical": None, "continuous": None}


def test_above_its_bound_it_is_one_plus_x():
    x = torch.tensor([-1.0, -3.0, 0.0, 2.0], dtype=torch.float64)
    assert positive(x)[2:].tolist() == pytest.approx([1.0, 3.0], abs=3e-3)
    assert (positive(x) > 0).all()


def test_its_slope_is_its_derivative():
    x = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(positive(x).log().sum(), x)
    torch.testing.assert_close(slope, log_positive_slope(x))


def test_the_jacobian_is_that_of_the_hidden_units(module, states, s):
    last = module.last_layer(s)
    decoded = Decoded.of(last, states, s)
    step = 1e-6 * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    moved = (last.hidden(states + step, s) - last.hidden(states - step, s)) / 2
    torch.testing.assert_close(decoded.along(step.expand_as(states)), moved)


def test_slopes_are_those_of_log_expression(module, states, s):
    last, kinetics = module.last_layer(s), module.kinetics
    decoded = Decoded.of(last, states, s)
    velocity = torch.randn(2, *states.shape, dtype=torch.float64)
    found = kinetics.slopes(last, decoded, velocity)
    for member in range(2):
        step = 1e-6 * velocity[member]
        ahead, behind = (
            kinetics.log_spliced(last, Decoded.of(last, states + sign * step, s))
            for sign in (1, -1)
        )
        torch.testing.assert_close(found[member], (ahead - behind) / 2e-6, atol=1e-7, rtol=1e-6)


def test_expression_of_a_cell_sums_to_one(module, states, s):
    last = module.last_layer(s)
    total = module.kinetics.log_spliced(last, Decoded.of(last, states, s)).exp().sum(dim=1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_spliced_and_unspliced_are_told_apart_as_the_log_odds_say(module, states, s):
    """Where splicing does not depend on the state, spliced expression is a share of all."""
    module.kinetics.splice_weight.zero_()
    last = module.last_layer(s)
    decoded = Decoded.of(last, states, s)
    logits = decoded.hidden @ last.weight[:N_GENES].T + last.bias[:N_GENES]
    odds = module.kinetics.splice_bias + module.kinetics.log_ratio
    expected = torch.log_softmax(logits + torch.nn.functional.logsigmoid(-odds), dim=-1)
    torch.testing.assert_close(module.kinetics.log_spliced(last, decoded), expected)


def test_the_totals_of_a_cell_are_met():
    torch.manual_seed(0)
    total = torch.full((3, N_GENES), 200.0).double()
    unspliced = torch.randint(20, 60, total.shape).double()
    molecules = Molecules(total, unspliced, torch.zeros(3, 1))
    weights = torch.rand(N_GENES).double() + 0.5
    typical = (unspliced.sum() / (total - unspliced).sum()).log()
    log_spliced = (total - unspliced).log()
    odds = torch.randn(3, N_GENES).double()
    met = with_totals_met(odds, log_spliced, molecules, typical, weights)
    expected = (weights * (total - unspliced) * met.exp()).sum(dim=1)
    observed = (weights * unspliced).sum(dim=1)
    # Cells are pulled a little to the typical share, by ten molecules.
    torch.testing.assert_close(expected, observed, rtol=0.01, atol=0)
    torch.testing.assert_close(met - odds, (met - odds)[:, :1].expand_as(met))


def test_velocity_turns_with_the_axes(module, states):
    kinetics = module.kinetics
    torch.nn.init.normal_(kinetics.velocities.weights[-1], std=0.3)
    kinetics.center.normal_()
    kinetics.spread.fill_(1.7)
    before = kinetics.velocity(states)
    rotation = torch.linalg.qr(torch.randn(N_LATENT, N_LATENT).double())[0]
    kinetics.axes.copy_(rotation.T @ kinetics.axes)
    kinetics.center.copy_(kinetics.center @ rotation)
    torch.testing.assert_close(kinetics.velocity(states @ rotation), before @ rotation)
