"""One contract that every implementation passes, against float64 and against scipy."""

import itertools
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lucidvi import kernels
from lucidvi.distributions import LIKELIHOODS
from lucidvi.kernels import _likelihoods

#: Parameters besides the mean, by family.
FAMILIES = {"poisson": (), "nb": ("log_theta",), "zinb": ("log_theta", "zi_logits")}


def log_likelihood(family, *args, **kwargs):
    return kernels.log_likelihood(LIKELIHOODS[family], *args, **kwargs)


def reference(family, *args):
    return kernels.reference(LIKELIHOODS[family], *args)


# -- implementations --------------------------------------------------------------------------


def by_kernel(family, logits, log_library, x, parameters, softmax):
    """The compiled kernel; fails where that would leave the work to the reference."""

    def fail(*args):
        raise AssertionError("The kernel left the work to the reference.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_likelihoods, "reference", fail)
        return log_likelihood(family, logits, log_library, x, *parameters, softmax=softmax)


def log_of(family, logits, log_library, x, parameters, softmax):
    """Whichever of the two."""
    return log_likelihood(family, logits, log_library, x, *parameters, softmax=softmax)


def by_torch_compile(backend):
    def compiled(*args):
        torch.compiler.reset()
        function = torch.compile(kernels.reference, backend=backend, dynamic=True)
        return function(LIKELIHOODS[args[0]], *args[1:])

    return compiled


IMPLEMENTATIONS = {
    "kernel": by_kernel,
    "reference": reference,
    "aot_eager": by_torch_compile("aot_eager"),
    "inductor": by_torch_compile("inductor"),
}


# -- cases ------------------------------------------------------------------------------------


class Case(NamedTuple):
    n_cells: int = 5
    n_genes: int = 33
    n_samples: int | None = None
    dispersion: str = "gene"
    softmax: bool = True
    layout: str = "csr"
    counts: str = "small"
    density: float = 0.3


CASES = {
    "csr": Case(),
    "dense": Case(layout="dense"),
    "stored zeros": Case(layout="stored zeros"),
    "unsorted": Case(layout="unsorted"),
    "int64": Case(layout="int64"),
    "log scale": Case(softmax=False),
    "dispersion by cell": Case(dispersion="cell"),
    "dispersion by cell, log scale": Case(dispersion="cell", softmax=False, layout="dense"),
    "draws": Case(n_samples=3),
    "draws, dispersion by cell": Case(n_samples=3, dispersion="cell"),
    "draws, dispersion by draw": Case(n_samples=3, dispersion="draw", layout="dense"),
    "draws, log scale": Case(n_samples=2, dispersion="draw", softmax=False),
    "fractions": Case(counts="fractions"),
    "large counts": Case(counts="large"),
    "no counts": Case(density=0.0),
    "all counts": Case(density=1.0),
    "one gene": Case(n_genes=1),
    "one gene, dispersion by cell": Case(n_genes=1, dispersion="cell"),
    "one cell": Case(n_cells=1),
    "one cell and gene": Case(n_cells=1, n_genes=1, softmax=False),
    "31 genes": Case(n_genes=31),
    "32 genes": Case(n_genes=32),
    "many genes": Case(n_cells=2, n_genes=1000, density=0.05),
    # So many cells that short products are looked up, and several blocks of genes.
    "blocks": Case(n_cells=9, n_genes=1100),
    "blocks, unsorted": Case(n_cells=9, n_genes=1100, layout="unsorted"),
    "blocks, stored zeros": Case(n_cells=9, n_genes=513, layout="stored zeros"),
    "blocks, large counts": Case(n_cells=9, n_genes=512, counts="large"),
    "blocks, fractions": Case(n_cells=9, n_genes=600, counts="fractions"),
    "blocks, draws": Case(n_cells=8, n_genes=530, n_samples=2),
}


def draw_counts(case, rng):
    shape = case.n_cells, case.n_genes
    x = {
        "small": lambda: 1.0 + rng.poisson(2.0, shape),
        "fractions": lambda: rng.choice([0.3, 1.0, 7.5, 255.5, 300.0], shape),
        "large": lambda: rng.choice([1.0, 24.0, 25.0, 64.0, 65.0, 255.0, 256.0, 1e4, 1e6], shape),
    }[case.counts]()
    x[rng.random(shape) >= case.density] = 0.0
    if case.n_cells > 2:
        x[1] = 0.0  # a cell without counts
    return x.astype(np.float32)


def as_layout(x, layout, rng):
    """The same counts as a tensor."""
    if layout == "dense":
        return torch.from_numpy(x)
    stored = (x != 0) | (rng.random(x.shape) < 0.2 if layout == "stored zeros" else False)
    starts, genes = np.r_[0, stored.sum(1).cumsum()], []
    for row in stored:
        columns = np.flatnonzero(row)
        genes.append(rng.permutation(columns) if layout == "unsorted" else columns)
    genes = np.concatenate(genes)
    rows = np.repeat(np.arange(len(x)), np.diff(starts))
    integer = torch.int64 if layout == "int64" else torch.int32
    return torch.sparse_csr_tensor(
        torch.as_tensor(starts, dtype=integer),
        torch.as_tensor(genes, dtype=integer),
        torch.from_numpy(x[rows, genes]),
        size=x.shape,
        check_invariants=False,
    )


class Given(NamedTuple):
    """Float32 parameters, the counts as an implementation gets them, and as they are."""

    family: str
    softmax: bool
    inputs: dict[str, torch.Tensor]
    x: torch.Tensor
    counts: np.ndarray

    def evaluate(self, implementation, wanted=None, dtype=torch.float32, x=None):
        """Log likelihoods, and the inputs as leaves, of which ``wanted`` ask for gradients."""
        leaves = {
            name: tensor.to(dtype).clone().requires_grad_(wanted is None or name in wanted)
            for name, tensor in self.inputs.items()
        }
        logits, log_library, *parameters = leaves.values()
        x = self.x if x is None else x
        value = implementation(self.family, logits, log_library, x, parameters, self.softmax)
        return value, leaves

    def truth(self, weights):
        """Value and gradients of the reference in float64, from dense counts."""
        counts = torch.from_numpy(self.counts).double()
        value, leaves = self.evaluate(reference, dtype=torch.float64, x=counts)
        (value * weights).sum().backward()
        return value.detach(), {name: leaf.grad for name, leaf in leaves.items()}

    def scipy(self):
        """Log likelihoods from scipy's densities."""
        value = {name: tensor.double().numpy() for name, tensor in self.inputs.items()}
        log_scale = value["logits"]
        if self.softmax:
            log_scale = log_scale - scipy.special.logsumexp(log_scale, axis=-1, keepdims=True)
        mu = np.exp(log_scale + value["log_library"])
        x = self.counts.astype(np.float64)
        if self.family == "poisson":
            # As `poisson.logpmf`, which knows whole counts alone.
            log_prob = scipy.special.xlogy(x, mu) - mu - scipy.special.gammaln(x + 1)
            whole = np.broadcast_to(x == np.round(x), mu.shape)
            pmf = scipy.stats.poisson.logpmf(x, mu)
            np.testing.assert_allclose(log_prob[whole], pmf[whole], rtol=1e-9)
            return log_prob.sum(-1)
        theta = np.exp(value["log_theta"])
        p = theta / (theta + mu)
        # Likewise `nbinom.logpmf`.
        log_prob = (
            scipy.special.gammaln(x + theta)
            - scipy.special.gammaln(theta)
            - scipy.special.gammaln(x + 1)
            + theta * np.log(p)
            + scipy.special.xlog1py(x, -p)
        )
        whole = np.broadcast_to(x == np.round(x), mu.shape)
        pmf = scipy.stats.nbinom.logpmf(x, theta, p)
        np.testing.assert_allclose(log_prob[whole], pmf[whole], rtol=1e-7, atol=1e-9)
        if self.family == "zinb":
            pi = scipy.special.expit(value["zi_logits"])
            at_zero = np.log(pi + (1 - pi) * np.exp(log_prob))
            log_prob = np.where(x == 0, at_zero, np.log1p(-pi) + log_prob)
        return log_prob.sum(-1)


def make(family, case, seed=0):
    rng = np.random.default_rng(seed)
    counts = draw_counts(case, rng)
    samples = () if case.n_samples is None else (case.n_samples,)
    shape = (*samples, case.n_cells, case.n_genes)

    def draw(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    by = {"gene": shape[-1:], "cell": shape[-2:], "draw": shape}
    inputs = {
        "logits": draw(*shape),
        "log_library": draw(*shape[:-1], 1) + float(np.log(1 + counts.sum(1).mean())),
        "log_theta": draw(*by[case.dispersion]),
        "zi_logits": draw(*shape),
    }
    if not case.softmax:
        inputs["logits"] -= float(np.log(case.n_genes))
    inputs = {n: inputs[n] for n in ("logits", "log_library", *FAMILIES[family])}
    return Given(family, case.softmax, inputs, as_layout(counts, case.layout, rng), counts)


def draw_weights(shape, seed=0):
    """Unequal, one of them zero, some negative."""
    weights = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))
    weights.view(-1)[-1] = 0.0
    return weights


# -- what float32 allows ----------------------------------------------------------------------


def assert_close(got, want, scale=None, message=""):
    """Within 1e-5 of the value, or of the terms that it is a sum of (``scale``)."""
    assert got.shape == want.shape, message
    error = (got.detach().double() - want).abs()
    bound = 1e-5 * want.abs() + 1e-6 + 1e-6 * (0.0 if scale is None else scale)
    worst = (error / bound).max().item()
    assert worst <= 1, f"{message}: {worst:.3g} times the error allowed"


def assert_gradients(given, weights, leaves, want, wanted=None):
    """Each entry is a weighted sum of terms of the size of counts and means (float32 numbers)."""
    inputs = {name: tensor.double() for name, tensor in given.inputs.items()}
    rho = inputs["logits"].softmax(-1) if given.softmax else inputs["logits"].exp()
    size = torch.from_numpy(given.counts).double() + rho * inputs["log_library"].exp()
    weights = weights.abs().unsqueeze(-1)
    scales = {
        "logits": weights * (size + rho * size.sum(-1, keepdim=True) * given.softmax),
        "log_library": weights * size.sum(-1, keepdim=True),
        "log_theta": weights * size,
        "zi_logits": weights.expand_as(size),
    }
    for name, leaf in leaves.items():
        if wanted is None or name in wanted:
            assert_close(leaf.grad, want[name], scales[name].sum_to_size(leaf.shape), name)
        else:
            assert leaf.grad is None, name


# -- the contract -----------------------------------------------------------------------------

CONTRACT = [
    *itertools.product(["kernel", "reference"], FAMILIES, CASES),
    # torch.compile takes seconds for each.
    ("aot_eager", "poisson", "csr"),
    ("aot_eager", "nb", "dense"),
    ("aot_eager", "zinb", "draws"),
    ("inductor", "nb", "csr"),
]


# Both of torch.compile's own making.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("implementation", "family", "case"), CONTRACT)
def test_value_and_gradients(implementation, family, case):
    given = make(family, CASES[case])
    value, leaves = given.evaluate(IMPLEMENTATIONS[implementation])
    weights = draw_weights(value.shape)
    want, gradients = given.truth(weights)
    np.testing.assert_allclose(want, given.scipy(), rtol=1e-8)
    np.testing.assert_allclose(value.detach(), want, rtol=1e-5)
    (value * weights.float()).sum().backward()
    assert_gradients(given, weights, leaves, gradients)


@settings(max_examples=60)
@given(
    family=st.sampled_from(list(FAMILIES)),
    case=st.builds(
        Case,
        n_cells=st.integers(1, 9),
        n_genes=st.integers(1, 70) | st.integers(500, 530),
        n_samples=st.sampled_from([None, 1, 2]),
        dispersion=st.sampled_from(["gene", "cell", "draw"]),
        softmax=st.booleans(),
        layout=st.sampled_from(["csr", "dense", "stored zeros", "unsorted", "int64"]),
        counts=st.sampled_from(["small", "fractions", "large"]),
        density=st.floats(0, 1),
    ),
    seed=st.integers(0, 2**16),
    shift=st.floats(-8, 8, width=32),
)
def test_kernel_of_any_shape(family, case, seed, shift):
    """``shift`` takes the dispersion from very over-dispersed to nearly Poisson."""
    given = make(family, case, seed)
    if "log_theta" in given.inputs:
        given.inputs["log_theta"] += shift
    value, leaves = given.evaluate(by_kernel)
    weights = draw_weights(value.shape, seed)
    want, gradients = given.truth(weights)
    assert_close(value, want)
    (value * weights.float()).sum().backward()
    assert_gradients(given, weights, leaves, gradients)


# -- what the kernel has to guess: how the value is used --------------------------------------

USES = {
    "minus the mean": lambda ll: -ll.mean(),
    "mean": lambda ll: ll.mean(),
    "sum": lambda ll: ll.sum(),
    "scaled sum": lambda ll: 2.5 * ll.sum(),
    "nothing": lambda ll: 0.0 * ll.sum(),
    "squares": lambda ll: ll.square().sum(),
    "importance weighted": lambda ll: ll.flatten().logsumexp(0),
    "one cell": lambda ll: ll[..., 2].sum(),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", ["csr", "draws, dispersion by cell"])
def test_gradients_by_what_is_differentiated(family, use, case):
    given = make(family, CASES[case])
    value, leaves = given.evaluate(by_kernel)
    counts = torch.from_numpy(given.counts).double()
    want, doubles = given.evaluate(reference, dtype=torch.float64, x=counts)
    (weights,) = torch.autograd.grad(USES[use](want), want, retain_graph=True)
    USES[use](want).backward()
    USES[use](value).backward()
    gradients = {name: leaf.grad for name, leaf in doubles.items()}
    # An error of the value is one of its weight, too.
    weights = weights.abs() + 1e-5 * want.detach().abs() * (use == "importance weighted")
    assert_gradients(given, weights, leaves, gradients)


@pytest.mark.parametrize("equal", [True, False])
def test_backward_twice(equal):
    given = make("zinb", CASES["csr"])
    value, leaves = given.evaluate(by_kernel)
    weights = torch.full((5,), 0.7) if equal else draw_weights(5).float()
    total = (value * weights).sum()
    first = torch.autograd.grad(total, list(leaves.values()), retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    second = torch.autograd.grad(total, list(leaves.values()), retain_graph=True)
    for name, one, copy, two in zip(leaves, first, kept, second, strict=True):
        torch.testing.assert_close(two, copy, rtol=1e-5, atol=1e-6, msg=name)
        assert torch.equal(one, copy), f"{name} was changed by the second pass"


def test_backward_twice_with_other_weights():
    """Per-cell gradients, one backward pass for each cell."""
    given = make("nb", CASES["csr"])
    value, leaves = given.evaluate(by_kernel)
    for cell in range(5):
        (got,) = torch.autograd.grad(value[cell], leaves["log_library"], retain_graph=True)
        only = torch.zeros(5, dtype=torch.float64)
        only[cell] = 1.0
        want = given.truth(only)[1]["log_library"]
        assert_close(got, want, given.counts.sum(), f"cell {cell}")


def test_gradients_add_up_over_two_losses():
    given = make("zinb", CASES["csr"])
    value, leaves = given.evaluate(by_kernel)
    weights = draw_weights(5)
    (value * weights.float()).sum().backward(retain_graph=True)
    (-value.mean()).backward()
    weights = weights - 0.2
    assert_gradients(given, weights, leaves, given.truth(weights)[1])


NAMES = ("logits", "log_library", "log_theta", "zi_logits")
SUBSETS = [c for n in (1, 2, 3) for c in itertools.combinations(NAMES, n)]


@pytest.mark.parametrize("wanted", SUBSETS, ids="+".join)
@pytest.mark.parametrize("case", ["csr", "dispersion by cell"])
def test_gradient_of_some_inputs(wanted, case):
    given = make("zinb", CASES[case])
    value, leaves = given.evaluate(by_kernel, wanted)
    weights = draw_weights(5)
    (value * weights.float()).sum().backward()
    assert_gradients(given, weights, leaves, given.truth(weights)[1], wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_value_without_gradients(family):
    given = make(family, CASES["draws"])
    want, _ = given.evaluate(by_kernel)
    assert want.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got, _ = given.evaluate(by_kernel)
            assert not got.requires_grad
            assert torch.equal(got, want)
    assert not given.evaluate(by_kernel, wanted=())[0].requires_grad


def test_inputs_stay_as_they_are():
    given = make("zinb", CASES["unsorted"])
    before = {name: tensor.clone() for name, tensor in given.inputs.items()}
    parts = [given.x.crow_indices(), given.x.col_indices(), given.x.values()]
    copies = [part.clone() for part in parts]
    logits, log_library, *parameters = given.inputs.values()
    by_kernel("zinb", logits.requires_grad_(), log_library, given.x, parameters, True)
    for name, tensor in given.inputs.items():
        assert torch.equal(tensor, before[name]), name
    assert all(map(torch.equal, parts, copies))


# -- shapes and memory ------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("softmax", [True, False])
def test_tensors_that_are_not_contiguous(family, softmax):
    given = make(family, Case(softmax=softmax, dispersion="cell", layout="dense"))
    for make_strided in (
        lambda t: t.t().contiguous().t(),
        lambda t: torch.stack([t, t + 1], dim=-1)[..., 0],
        lambda t: torch.cat([t, t])[: len(t)],
        lambda t: t.flip(-1).contiguous().flip(-1),
    ):
        strided = {name: make_strided(tensor) for name, tensor in given.inputs.items()}
        again = given._replace(inputs=strided, x=make_strided(given.x))
        leaves = {name: tensor.requires_grad_() for name, tensor in strided.items()}
        for leaf in leaves.values():
            leaf.retain_grad()
        logits, log_library, *parameters = leaves.values()
        value = by_kernel(family, logits, log_library, again.x, parameters, softmax)
        weights = draw_weights(5)
        want, gradients = given.truth(weights)
        np.testing.assert_allclose(value.detach(), want, rtol=1e-5)
        (value * weights.float()).sum().backward()
        assert_gradients(given, weights, leaves, gradients)


BROADCASTS = {
    "one exposure": {"log_library": (1,)},
    "one exposure a draw": {"log_library": (3, 1, 1)},
    "exposure of the cells": {"log_library": (4, 1)},
    "one dispersion": {"log_theta": ()},
    "one dispersion, with an axis": {"log_theta": (1,)},
    "dispersion (1, n_genes)": {"log_theta": (1, 6)},
    "dispersion of a cell": {"log_theta": (4, 1)},
    "dispersion of a draw": {"log_theta": (3, 1, 6)},
    "inflation of a gene": {"zi_logits": (6,)},
    "inflation of the cells": {"zi_logits": (4, 6)},
    "one inflation": {"zi_logits": ()},
    "counts of each draw": {"x": (3, 4, 6)},
    "one cell's counts a draw": {"x": (3, 1, 6)},
    "one cell's counts": {"x": (1, 6)},
    "counts of a gene": {"x": (6,)},
    "counts, with an axis": {"x": (1, 4, 6)},
    "logits of the cells, counts of draws": {"x": (3, 4, 6), "logits": (4, 6)},
    "logits of the cells, dispersion of draws": {"log_theta": (3, 4, 6), "logits": (4, 6)},
    "logits of the cells, exposure of draws": {"log_library": (3, 4, 1), "logits": (4, 6)},
    "logits of one cell": {"logits": (1, 6)},
    "logits without cells": {"logits": (6,)},
    "logits with an axis before the genes": {"logits": (4, 1, 6), "x": (4, 6)},
    "one gene, one dispersion": {
        "logits": (4, 1),
        "x": (4, 1),
        "log_theta": (),
        "zi_logits": (4, 1),
    },
}


@pytest.mark.parametrize("name", BROADCASTS)
def test_broadcasting_is_that_of_the_reference(name):
    shapes = {
        "logits": (3, 4, 6),
        "log_library": (4, 1),
        "x": (4, 6),
        "log_theta": (6,),
        "zi_logits": (),
    } | BROADCASTS[name]
    generator = torch.Generator().manual_seed(0)
    tensors = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    x = tensors.pop("x").exp().round()

    def evaluate(implementation, dtype):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors.values()]
        value = implementation("zinb", *leaves[:2], x, *leaves[2:])
        value.square().sum().backward()
        return value.detach().double(), *(leaf.grad.double() for leaf in leaves)

    want = evaluate(lambda f, a, b, x, *p: reference(f, a, b, x, list(p), True), torch.float64)
    got = evaluate(log_likelihood, torch.float32)
    for one, other in zip(got, want, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_other_cells_than_those_of_the_mean(layout):
    """Twice as many means as cells: no broadcasting, so no value."""
    given = make("nb", Case(n_cells=4, layout=layout))
    inputs = {"logits": torch.zeros(8, 33), "log_library": torch.zeros(8, 1)}
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        log_likelihood("nb", *inputs.values(), given.x, torch.zeros(33))


@pytest.mark.parametrize("family", FAMILIES)
def test_other_precisions_are_left_to_the_reference(family):
    given = make(family, CASES["csr"])
    logits, log_library, *parameters = (t.double() for t in given.inputs.values())
    got = log_likelihood(family, logits, log_library, given.x, *parameters)
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, given.scipy(), rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_cells(family):
    given = make(family, CASES["csr"])
    inputs = {n: t[:0] if t.ndim > 1 else t for n, t in given.inputs.items()}
    logits, log_library, *parameters = inputs.values()
    x = torch.zeros(0, given.counts.shape[1])
    assert log_likelihood(family, logits, log_library, x, *parameters).shape == (0,)


# -- out of range -----------------------------------------------------------------------------


def same_as_the_reference(given):
    """Value and gradients of :func:`log_likelihood` and of the reference, both float32."""

    def public(family, logits, log_library, x, parameters, softmax):
        return log_likelihood(family, logits, log_library, x, *parameters, softmax=softmax)

    got, leaves = given.evaluate(public)
    want, others = given.evaluate(reference)
    np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-5)
    got.sum().backward()
    want.sum().backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(
            leaf.grad, others[name].grad, equal_nan=True, rtol=1e-4, atol=1e-4, msg=name
        )
    return want.detach()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("log_library", [100.0, -100.0, 61.0, -61.0, 59.0, -59.0])
def test_means_beyond_counts(family, softmax, log_library):
    given = make(family, Case(softmax=softmax))
    given.inputs["log_library"][2] = log_library
    assert torch.isfinite(same_as_the_reference(given)).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("logit", [70.0, -70.0, 1e4, -1e4, 3e38, -3e38, float("-inf")])
def test_logits_beyond_counts(family, softmax, logit):
    """As the reference, also where that is NaN or minus infinity."""
    given = make(family, Case(softmax=softmax))
    given.inputs["logits"][2, 7] = logit
    same_as_the_reference(given)


@pytest.mark.parametrize("zi_logits", [-200.0, -68.0, -30.0, 30.0, 68.0, 200.0])
def test_inflation_that_is_all_but_never_or_always(zi_logits):
    """The smallest probabilities are no float32 numbers: from there on it is the reference."""
    given = make("zinb", Case(n_cells=9, n_genes=40))
    given.inputs["zi_logits"][:, ::3] = zi_logits
    given.inputs["log_library"] += 8.0  # so that zeros are next to impossible without inflation
    given.inputs["log_theta"] += 2.0
    value, leaves = given.evaluate(IMPLEMENTATIONS["kernel"] if zi_logits > -69 else log_of)
    weights = draw_weights(value.shape)
    want, gradients = given.truth(weights)
    assert_close(value, want)
    (value * weights.float()).sum().backward()
    assert_gradients(given, weights, leaves, gradients)


@pytest.mark.parametrize(
    ("family", "where"),
    [(family, where) for family in FAMILIES for where in (*NAMES[:2], *FAMILIES[family])],
)
@pytest.mark.parametrize("gene", [0, 7, 32])
def test_nan_stays_nan(family, where, gene):
    """A gene without counts too, whose term is of the vectorized part."""
    for count in (0.0, 3.0):
        given = make(family, Case(layout="dense", dispersion="cell"))
        given.counts[2, gene] = count
        given.inputs[where][2, min(gene, given.inputs[where].shape[1] - 1)] = float("nan")
        with torch.no_grad():
            logits, log_library, *parameters = given.inputs.values()
            value = log_likelihood(family, logits, log_library, given.x, *parameters)
        assert value.isnan().tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [float("nan"), float("inf")])
def test_counts_that_are_no_numbers_leave_none(family, count):
    given = make(family, Case(layout="dense"))
    given.x[2, 7] = count
    logits, log_library, *parameters = given.inputs.values()
    value = log_likelihood(family, logits, log_library, given.x, *parameters)
    assert value.isfinite().tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [20.0, 60.0, 70.0, 1e3, 1e4, 1e6])
def test_counts_at_their_mean(family, count):
    """There the terms, of the size of the count, all but cancel."""
    given = make(family, Case(n_cells=1, n_genes=1, density=1.0, layout="dense"))
    given.x[:] = count
    given.counts[:] = count
    given.inputs["log_library"].fill_(float(np.log(count)))
    if "log_theta" in given.inputs:
        given.inputs["log_theta"].fill_(12.0)
    value, _ = given.evaluate(by_kernel)
    np.testing.assert_allclose(value.detach(), given.scipy(), rtol=1e-5)


@pytest.mark.parametrize("family", ["nb", "zinb"])
@pytest.mark.parametrize("log_theta", [-20.0, 20.0])
def test_dispersions_at_the_bounds(family, log_theta):
    """Those that the likelihoods clamp to."""
    given = make(family, Case(counts="large"))
    given.inputs["log_theta"].fill_(log_theta)
    value, leaves = given.evaluate(by_kernel)
    weights = draw_weights(value.shape)
    want, gradients = given.truth(weights)
    assert_close(value, want)
    (value * weights.float()).sum().backward()
    assert_gradients(given, weights, leaves, gradients)


# -- threads and processes --------------------------------------------------------------------


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", ["csr", "draws, dispersion by cell", "draws", "one cell"])
def test_threads_change_nothing(family, case, set_threads):
    """Two threads; three; and more than there are cells."""
    given = make(family, CASES[case])
    results = []
    for n in (1, 2, 3, 8):
        set_threads(n)
        value, leaves = given.evaluate(by_kernel)
        (value * draw_weights(value.shape).float()).sum().backward()
        results.append((value.detach(), {name: leaf.grad for name, leaf in leaves.items()}))
    (value, gradients), *others = results
    for other, theirs in others:
        assert torch.equal(other, value)
        for name, gradient in gradients.items():
            # Threads sum a dispersion that they share apart, so its last digits may differ.
            torch.testing.assert_close(theirs[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


FIRST_USE = """
import torch
from lucidvi.distributions import NegativeBinomial
from lucidvi.kernels import _compiled_csr, _compiled_likelihoods, log_likelihood
zeros = torch.zeros(2, 3), torch.zeros(2, 1)
x = torch.ones(2, 3)
print(log_likelihood(NegativeBinomial, *zeros, x, torch.zeros(3)).tolist())
kernel = _compiled_likelihoods.nb
print(kernel.compiled.cache_hits, sum(_compiled_csr.compress.stats.cache_hits.values()))
"""


def test_compiled_code_is_kept_on_disk():
    """Another process reads what this one compiled or read; tests beside this one write too."""
    x = torch.ones(2, 3)
    here = log_likelihood("nb", torch.zeros(2, 3), torch.zeros(2, 1), x, torch.zeros(3))
    command = [sys.executable, "-W", "ignore", "-c", FIRST_USE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    value, hits = done.stdout.splitlines()
    assert hits == "1 1"
    assert value == str(here.tolist())
