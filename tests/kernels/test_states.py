"""Log likelihoods of many states against the reference in float64, with autograd's gradients."""

from itertools import pairwise

import pytest
import torch

from lucidvi import kernels
from lucidvi.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from lucidvi.kernels import _states

N_CELLS, N_GENES, N_HIDDEN = 5, 700, 12
FAMILIES = {"nb": NegativeBinomial, "poisson": Poisson, "zinb": ZeroInflatedNegativeBinomial}


def cells(family, by_cell=False, largest=30.0):
    """Counts, parameters, and the weights of a layer."""
    torch.manual_seed(0)
    rate = torch.rand(N_CELLS, N_GENES).pow(8) * largest
    x = torch.poisson(rate)
    x[0, :3] = torch.tensor([0.0, 5_000.0, 100_000.0])
    x[1] = 0
    n_outputs = N_GENES * (1 + len(_states.OF_STATES[family]))
    weight, bias = torch.randn(n_outputs, N_HIDDEN) / 4, torch.randn(n_outputs)
    shape = (N_CELLS, N_GENES) if by_cell else (N_GENES,)
    parameters = {} if family == "poisson" else {"log_theta": 2 * torch.randn(shape)}
    return x, parameters, weight, bias


def states(n_states):
    torch.manual_seed(1)
    hidden = torch.randn(N_CELLS, n_states, N_HIDDEN).relu()
    hidden[..., 3] = 0
    hidden[2, :, :4] = 0
    return hidden, 5 + torch.randn(N_CELLS, n_states)


def reference(family, x, parameters, weight, bias, hidden, log_library):
    """Values and gradients by autograd, in float64."""
    hidden, log_library = (t.double().requires_grad_() for t in (hidden, log_library))
    outputs = hidden @ weight.double().T + bias.double()
    logits, *heads = outputs.split(N_GENES, dim=-1)
    others = [p.double()[:, None] if p.ndim > 1 else p.double() for p in parameters.values()]
    others += heads
    counts = x.double()[:, None].expand(logits.shape)
    value = kernels.reference(
        FAMILIES[family], logits, log_library[..., None], counts, others, True
    )
    return value.detach(), *torch.autograd.grad(value.sum(), (hidden, log_library))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_states", [1, 7, 150])
@pytest.mark.parametrize(
    ("family", "by_cell"),
    [("nb", False), ("nb", True), ("poisson", False), ("zinb", False), ("zinb", True)],
)
def test_values_and_gradients(family, by_cell, n_states, sparse, monkeypatch):
    monkeypatch.setattr(_states, "N_LOGITS", 40 * N_GENES)  # cells and states in several parts
    monkeypatch.setattr(_states, "N_TRANSPOSED", 100)
    x, parameters, weight, bias = cells(family, by_cell)
    hidden, log_library = states(n_states)
    given = kernels.as_csr(x) if sparse else x
    counts = kernels.StateCounts.of(family, given, weight, parameters, _states.OF_STATES[family])
    arguments = (counts, hidden, log_library, weight, bias)
    value, by_hidden, by_library = kernels.log_likelihood_of_states(*arguments, True)
    want = reference(family, x, parameters, weight, bias, hidden, log_library)
    torch.testing.assert_close(value.double(), want[0], rtol=1e-6, atol=1e-3)
    # Of units that are zero in all states of a cell the gradient may be left out.
    asked = (hidden != 0).expand(by_hidden.shape)
    scale = want[1].abs().max()
    assert float((by_hidden - want[1])[asked].abs().max() / scale) < 1e-5
    torch.testing.assert_close(by_library.double(), want[2], rtol=1e-5, atol=1e-2)
    alone, *none = kernels.log_likelihood_of_states(*arguments, False)
    torch.testing.assert_close(alone, value, rtol=1e-6, atol=1e-3)
    assert none == [None, None]


def test_logits_become_gradients():
    x, parameters, weight, bias = cells("nb")
    hidden, log_library = states(1)
    logits = hidden[:, 0] @ weight.T + bias
    counts = kernels.StateCounts.of("nb", x, weight, parameters)
    value, gradient = kernels.log_likelihood_of_logits(counts, logits, log_library)
    want = reference("nb", x, parameters, weight, bias, hidden, log_library)
    torch.testing.assert_close(value.double(), want[0], rtol=1e-6, atol=1e-3)
    assert gradient.data_ptr() == logits.data_ptr()
    by_hidden = gradient.double() @ weight.double()
    torch.testing.assert_close(by_hidden, want[1][:, 0], rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("log_library", [100.0, float("nan"), float("inf")])
def test_beyond_the_range_it_says_so(log_library):
    x, parameters, weight, bias = cells("nb")
    hidden, _ = states(1)
    counts = kernels.StateCounts.of("nb", x, weight, parameters)
    exposure = torch.full((N_CELLS, 1), log_library)
    value, *_ = kernels.log_likelihood_of_states(counts, hidden, exposure, weight, bias, True)
    assert value.isnan().all()


def test_states_far_apart_keep_their_digits():
    """Exponentials are relative to a number that is found anew where it does not do."""
    x, parameters, weight, bias = cells("nb")
    hidden, log_library = states(6)
    bias = bias + 1
    hidden[:, 1::2] *= 60
    counts = kernels.StateCounts.of("nb", x, weight, parameters)
    value, *_ = kernels.log_likelihood_of_states(counts, hidden, log_library, weight, bias, False)
    want, *_ = reference("nb", x, parameters, weight, bias, hidden, log_library)
    torch.testing.assert_close(value.double(), want, rtol=1e-5, atol=1e-2)


def test_what_is_not_compiled():
    x, parameters, weight, _ = cells("nb")
    assert kernels.StateCounts.of("zinb", x, weight, parameters) is None  # without its head
    assert kernels.StateCounts.of("nb", x, weight, parameters, ("log_theta",)) is None
    assert kernels.StateCounts.of("normal", x, weight, parameters) is None
    assert kernels.StateCounts.of("nb", x, weight.double(), parameters) is None
    with kernels.plain_torch():
        assert kernels.StateCounts.of("nb", x, weight, parameters) is None


@pytest.mark.parametrize("by_cell", [False, True])
def test_inflation_far_out_and_genes_in_any_order(by_cell):
    """Log odds of a size at which probabilities are no float32 numbers, on several blocks."""
    x, parameters, weight, bias = cells("zinb", by_cell)
    n = N_GENES
    bias[n:] = torch.linspace(-60, 120, n)[torch.randperm(n)]
    hidden, log_library = states(3)
    sparse = kernels.as_csr(x)
    starts, genes, counts = sparse.crow_indices(), sparse.col_indices(), sparse.values()
    order = torch.cat([torch.randperm(stop - start) + start for start, stop in pairwise(starts)])
    mixed = kernels.csr(starts, genes[order], counts[order], n)
    given = kernels.StateCounts.of("zinb", mixed, weight, parameters, ("zi_logits",))
    some = given.select(torch.tensor([3, 1, 0]))
    arguments = (hidden[[3, 1, 0]], log_library[[3, 1, 0]], weight, bias)
    value, by_hidden, _ = kernels.log_likelihood_of_states(some, *arguments, True)
    want = reference("zinb", x, parameters, weight, bias, hidden, log_library)
    torch.testing.assert_close(value.double(), want[0][[3, 1, 0]], rtol=1e-6, atol=1e-3)
    error = (by_hidden - want[1][[3, 1, 0]]).abs().max()
    assert float(error / want[1].abs().max()) < 1e-5
    bias[n] = -200.0
    value, *_ = kernels.log_likelihood_of_states(some, *arguments, True)
    assert value.isnan().all()
