"""The fused optimizers are torch's, wherever a weight lies in memory."""

import copy

import pytest
import torch
from torch import nn

from lucidvi.kernels import gene_major
from lucidvi.train.plan._optimizers import OPTIMIZERS, can_fuse

TORCH = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
N_STEPS = 20
#: Names of the weights that are stored column by column, and of the one without a gradient.
GENE_MAJOR, UNUSED = "genes", "unused"


def make_weights(dtype=torch.float32):
    """Weights of every kind that a model has: a vector, a matrix stored either way, a scalar."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    weights = {"rows": draw(5, 7), GENE_MAJOR: gene_major(draw(6, 9)), "bias": draw(6)}
    weights |= {"scalar": draw(), "square": gene_major(draw(4, 4)), UNUSED: draw(3, 2)}
    return {name: nn.Parameter(weight) for name, weight in weights.items()}


def set_gradients(weights, step):
    """The same gradients at a step for weights of any type, as autograd lays them out."""
    generator = torch.Generator().manual_seed(step + 1)
    for name, weight in weights.items():
        gradient = 1 + torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if name == UNUSED:
            continue
        weight.grad = torch.empty_like(weight)  # keeps the order of the entries in memory
        weight.grad.copy_(gradient)


def update(optimizer, weights, steps=range(N_STEPS)):
    for step in steps:
        set_gradients(weights, step)
        optimizer.step()
    return weights


def assert_close(got, want, **kwargs):
    for name in want:
        torch.testing.assert_close(
            got[name].detach().double(), want[name].detach().double(), msg=name, **kwargs
        )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("eps", [1e-8, 0.01])
def test_it_is_that_of_torch(name, weight_decay, eps):
    kwargs = {"lr": 0.01, "weight_decay": weight_decay, "eps": eps}
    trained = []
    for cls, dtype, fused in (
        (OPTIMIZERS[name], torch.float32, True),
        (TORCH[name], torch.float32, False),
        (TORCH[name], torch.float64, False),
    ):
        weights = make_weights(dtype)
        trained.append(update(cls(weights.values(), fused=fused, **kwargs), weights))
    ours, torchs, exact = trained
    start = make_weights()
    moved = {key: (ours[key] - start[key]).abs().max() for key in start}
    assert all(moved[key] > 0.05 for key in set(start) - {UNUSED})
    assert moved[UNUSED] == 0
    # Twenty roundings of numbers of about one, each by a float32's 6e-8 or so.
    assert_close(ours, torchs, rtol=0, atol=2e-6)
    assert_close(ours, exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_running_means_are_those_asked_for(name):
    """By other shares of the past than torch's, which give other weights."""
    trained = []
    for cls, betas in (
        (OPTIMIZERS[name], (0.8, 0.9)),
        (TORCH[name], (0.8, 0.9)),
        (TORCH[name], (0.9, 0.999)),
    ):
        weights = make_weights()
        trained.append(update(cls(weights.values(), lr=0.01, betas=betas), weights))
    ours, torchs, others = trained
    assert_close(ours, torchs, rtol=0, atol=2e-6)
    assert (ours["rows"] - others["rows"]).abs().max() > 1e-3


def test_the_two_differ():
    """Else a test that mixes them up would pass."""
    trained = []
    for cls in OPTIMIZERS.values():
        weights = make_weights()
        optimizer = cls(weights.values(), lr=0.01, weight_decay=0.1, fused=True)
        trained.append(update(optimizer, weights))
    assert (trained[0]["rows"] - trained[1]["rows"]).abs().max() > 1e-3


@pytest.mark.parametrize("laid_out", [torch.Tensor.contiguous, gene_major])
def test_gradients_of_either_layout(laid_out):
    """A gradient need not lie in memory as its weight does."""
    trained = []
    for cls in (OPTIMIZERS["Adam"], torch.optim.Adam):
        weight = nn.Parameter(gene_major(torch.arange(6.0).view(2, 3)))
        optimizer = cls([weight], lr=0.1, fused=cls is not torch.optim.Adam)
        weight.grad = laid_out(torch.tensor([[1.0, -2.0, 3.0], [-0.5, 0.1, 0.0]]))
        optimizer.step()
        trained.append(weight.detach())
    torch.testing.assert_close(*trained)


def test_weights_stay_where_they_are():
    weights = make_weights()
    optimizer = OPTIMIZERS["Adam"](weights.values(), fused=True)
    places = {name: (w.data_ptr(), w.stride()) for name, w in weights.items()}
    update(optimizer, weights)
    assert {name: (w.data_ptr(), w.stride()) for name, w in weights.items()} == places
    assert not weights[GENE_MAJOR].is_contiguous()


def test_a_weight_without_a_gradient_has_no_state():
    weights = make_weights()
    optimizer = OPTIMIZERS["AdamW"](weights.values(), fused=True, weight_decay=0.5)
    before = weights[UNUSED].detach().clone()
    update(optimizer, weights)
    assert torch.equal(weights[UNUSED], before)
    assert weights[UNUSED] not in optimizer.state
    assert all(int(optimizer.state[w]["step"]) == N_STEPS for w in optimizer.state)


def test_a_weight_that_has_a_gradient_at_times():
    """Its steps are counted by themselves, as the correction of the bias asks."""
    trained = []
    for cls in (OPTIMIZERS["Adam"], torch.optim.Adam):
        weights = make_weights()
        optimizer = cls(weights.values(), fused=cls is not torch.optim.Adam)
        for step in range(6):
            set_gradients(weights, step)
            if step % 2:
                weights["rows"].grad = None
            optimizer.step()
        assert int(optimizer.state[weights["rows"]]["step"]) == 3
        assert int(optimizer.state[weights["bias"]]["step"]) == 6
        trained.append(weights)
    assert_close(*trained, rtol=0, atol=1e-6)


def test_nothing_to_update():
    weight = nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS["Adam"]([weight], fused=True)
    assert optimizer.step() is None
    assert torch.equal(weight, torch.ones(3))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("reader", ["ours", "torch's"])
def test_its_state_can_be_saved_and_loaded(name, reader):
    """After ten of twenty steps, and by torch's optimizer too."""
    kwargs = {"lr": 0.01, "weight_decay": 0.1}
    whole = make_weights()
    update(OPTIMIZERS[name](whole.values(), fused=True, **kwargs), whole)
    weights = make_weights()
    optimizer = OPTIMIZERS[name](weights.values(), fused=True, **kwargs)
    update(optimizer, weights, range(10))
    state = copy.deepcopy(optimizer.state_dict())
    cls = OPTIMIZERS[name] if reader == "ours" else TORCH[name]
    again = cls(weights.values(), fused=True, lr=1.0)
    again.load_state_dict(state)
    update(again, weights, range(10, N_STEPS))
    assert_close(weights, whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", [{"amsgrad": True}, {"maximize": True}, {"fused": False}])
def test_settings_of_torch(name, setting):
    trained = []
    for cls in (OPTIMIZERS[name], TORCH[name]):
        weights = make_weights()
        given = {"fused": cls is OPTIMIZERS[name]} | setting
        trained.append(update(cls(weights.values(), lr=0.01, **given), weights))
    assert_close(*trained, rtol=0, atol=2e-6)


def test_groups_of_weights():
    trained = []
    for cls in (OPTIMIZERS["Adam"], torch.optim.Adam):
        weights = make_weights()
        first, *rest = weights.values()
        groups = [{"params": [first], "lr": 0.1}, {"params": rest}]
        trained.append(update(cls(groups, fused=cls is not torch.optim.Adam), weights))
    assert_close(*trained, rtol=0, atol=2e-6)


def test_a_closure_is_called_with_gradients():
    trained = []
    for cls in (OPTIMIZERS["Adam"], torch.optim.Adam):
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = cls([weight], lr=0.1, fused=cls is not torch.optim.Adam)

        def closure(weight=weight, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (weight**2).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 5.0
        trained.append(weight.detach())
    torch.testing.assert_close(*trained)
    assert trained[0][0] < 1


def test_what_can_be_fused():
    assert can_fuse([torch.ones(2), torch.ones(2, dtype=torch.float64)])
    assert not can_fuse([torch.ones(2), torch.ones(2, dtype=torch.int64)])
    assert not can_fuse([torch.ones(2), torch.ones(2, device="meta")])
