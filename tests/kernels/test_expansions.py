"""Expansions of log likelihoods against derivatives by autograd of the reference in float64."""

import pytest
import torch
from tests.kernels.test_states import FAMILIES, N_CELLS, N_GENES, N_HIDDEN, cells

from lucidvi import kernels
from lucidvi.kernels import _expansions, _states

N_DIRECTIONS = 4


def reference(family, x, parameters, weight, bias, hidden, log_library):
    """Value, slope and minus the second derivatives along the directions, of a cell."""

    def of(along):
        h = hidden[0] + along @ hidden[1:]
        outputs = h @ weight.T + bias
        others = [*parameters, *outputs.split(N_GENES)[1:]]
        library = log_library[0] + along @ log_library[1:]
        px = outputs[None, :N_GENES], library.reshape(1, 1), x[None], [p[None] for p in others]
        return kernels.reference(FAMILIES[family], *px, True).squeeze()

    zero = torch.zeros(N_DIRECTIONS, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(of, zero)
    return of(zero), slope, -torch.autograd.functional.hessian(of, zero)


@pytest.mark.parametrize(
    ("family", "by_cell"),
    [("nb", False), ("nb", True), ("poisson", False), ("zinb", False), ("zinb", True)],
)
def test_value_slope_and_curvature(family, by_cell, monkeypatch):
    monkeypatch.setattr(_expansions, "N_LOGITS", 22 * N_GENES)  # cells in several parts
    x, parameters, weight, bias = cells(family, by_cell)
    torch.manual_seed(1)
    hidden = torch.randn(N_CELLS, 1 + N_DIRECTIONS, N_HIDDEN)
    log_library = torch.randn(N_CELLS, 1 + N_DIRECTIONS) / 4
    log_library[:, 0] += 5
    heads = _states.OF_STATES[family]
    counts = kernels.StateCounts.of(family, x, weight, parameters, heads)
    found = kernels.expanded_log_likelihood(counts, hidden, log_library, weight, bias)
    for cell in range(N_CELLS):
        own = [p[cell if by_cell else ...].double() for p in parameters.values()]
        given = [t.double() for t in (weight, bias, hidden[cell], log_library[cell])]
        want = reference(family, x[cell].double(), own, *given)
        torch.testing.assert_close(found[0][cell].double(), want[0], rtol=1e-6, atol=1e-2)
        for values, wanted in zip(found[1:], want[1:], strict=True):
            assert float((values[cell] - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_beyond_its_range_it_says_so():
    x, parameters, weight, bias = cells("nb")
    counts = kernels.StateCounts.of("nb", x, weight, parameters)
    log_library = torch.full((N_CELLS, 2), 100.0)
    hidden = torch.zeros(N_CELLS, 2, N_HIDDEN)
    value, *_ = kernels.expanded_log_likelihood(counts, hidden, log_library, weight, bias)
    assert value.isnan().all()
