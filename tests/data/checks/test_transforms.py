"""Transforms and estimates are told apart by their values, on simulated truth and real counts."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from lucidvi.data import check_counts
from lucidvi.data.checks._transforms import (
    OF_COUNTS,
    Cause,
    integer_share,
    leaves_integers,
    likely_cause,
    resolution,
)
from lucidvi.errors import DataError

N_CELLS, N_GENES = 80, 250
Simulation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def cp10k(x: np.ndarray) -> np.ndarray:
    return 1e4 * x / x.sum(axis=1, keepdims=True)


def tpm(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rate = x / rng.uniform(300, 8000, x.shape[1])
    return 1e6 * rate / rate.sum(axis=1, keepdims=True)


def variable(x: np.ndarray) -> np.ndarray:
    """Return about a fifth of the genes, those with the largest variance."""
    return x[:, np.argsort(-x.var(axis=0))[: max(50, x.shape[1] // 5)]]


#: Functions of one count, by the name that the error has to give them.
ELEMENTWISE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log1p(counts)": np.log1p,
    "log2(counts + 1)": lambda x: np.log2(x + 1),
    "log10(counts + 1)": lambda x: np.log10(x + 1),
    "sqrt(counts)": np.sqrt,
    "sqrt(counts + 3/8)": lambda x: np.sqrt(x + 0.375),
    "2 sqrt(counts + 3/8) (Anscombe)": lambda x: 2 * np.sqrt(x + 0.375),
    "sqrt(counts) + sqrt(counts + 1) (Freeman-Tukey)": lambda x: np.sqrt(x) + np.sqrt(x + 1),
    "sqrt(counts) + sqrt(counts + 1) - 1 (Freeman-Tukey)": lambda x: (
        np.sqrt(x) + np.sqrt(x + 1) - 1
    ),
    "arcsinh(counts)": np.arcsinh,
    "arcsinh(counts / 5)": lambda x: np.arcsinh(x / 5),
    "arcsinh(counts / 150)": lambda x: np.arcsinh(x / 150),
    "arcsinh(sqrt(counts))": lambda x: np.arcsinh(np.sqrt(x)),
    "acosh(0.1 counts + 1) / sqrt(0.05)": lambda x: np.arccosh(0.1 * x + 1) / np.sqrt(0.05),
    "log(counts + 0.5)": lambda x: np.log(x + 0.5),
    "log1p(counts / 2)": lambda x: np.log1p(x / 2),
    "cbrt(counts)": np.cbrt,
}
#: Functions of normalised values.
OF_NORMALISED: dict[str, Simulation] = {
    "log1p(CP10k)": lambda x, _: np.log1p(cp10k(x)),
    "log1p(CP10k), variable genes": lambda x, _: variable(np.log1p(cp10k(x))),
    "log2(CPM + 1), variable genes": lambda x, _: variable(np.log2(100 * cp10k(x) + 1)),
    "log10(CP10k + 1)": lambda x, _: np.log10(cp10k(x) + 1),
    "sqrt(CP10k)": lambda x, _: np.sqrt(cp10k(x)),
    "log2(TPM + 1)": lambda x, rng: np.log2(tpm(x, rng) + 1),
    "log2(TPM + 1), variable genes": lambda x, rng: variable(np.log2(tpm(x, rng) + 1)),
    "log2(TPM + 1), two decimals": lambda x, rng: variable(np.log2(tpm(x, rng) + 1)).round(2),
    "log2(TPM + 1), float16": lambda x, rng: np.float16(variable(np.log2(tpm(x, rng) + 1))),
    "log1p(TPM), variable genes": lambda x, rng: variable(np.log1p(tpm(x, rng))),
    "log10(TPM + 1), variable genes": lambda x, rng: variable(np.log10(tpm(x, rng) + 1)),
    "log2(TPM / 10 + 1), variable genes": lambda x, rng: variable(np.log2(tpm(x, rng) / 10 + 1)),
    "TPM, variable genes": lambda x, rng: variable(tpm(x, rng)),
    "scaled without a mean": lambda x, _: np.minimum(
        np.log1p(cp10k(x)) / (np.log1p(cp10k(x)).std(axis=0) + 1e-3), 10
    ),
    "z-scores": lambda x, _: np.log1p(cp10k(x)) - np.log1p(cp10k(x)).mean(axis=0),
}


def expectation(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share counts out between pairs of genes, as EM does with reads of both."""
    half = x.shape[1] // 2
    moved = x[:, :half] * rng.random((len(x), half)) * (rng.random((len(x), half)) < 0.5)
    x = x.astype(float)
    x[:, :half] -= moved
    x[:, half : 2 * half] += moved
    return x


def less_ambient(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    profile = x.sum(axis=0) / x.sum()
    return np.maximum(x - rng.uniform(0.02, 0.15, (len(x), 1)) * x.sum(1)[:, None] * profile, 0)


#: Estimates of counts.
ESTIMATES: dict[str, Simulation] = {
    "EM": expectation,
    "EM, two decimals (RSEM)": lambda x, rng: expectation(x, rng).round(2),
    "EM, three decimals (Salmon)": lambda x, rng: expectation(x, rng).round(3),
    "EM, float16": lambda x, rng: np.float16(np.minimum(expectation(x, rng), 6e4)),
    "EM of few reads (Alevin)": lambda x, rng: np.where(
        rng.random(x.shape) < 0.05, x + rng.random(x.shape), x
    ),
    "less a share of its own (DecontX)": lambda x, rng: x * (1 - 0.1 * rng.beta(1, 3, x.shape)),
    "less ambient (SoupX)": less_ambient,
    "less noise (CellBender)": lambda x, rng: np.maximum(
        x - rng.gamma(0.5, 0.2, x.shape) * (x > 0), 0
    ),
    "pseudo-counts": lambda x, _: x + 0.5,
}


def simulated(depth: float, shape: float, seed: int = 0) -> np.ndarray:
    """Draw negative binomial counts of genes whose means are more unequal the smaller `shape`."""
    rng = np.random.default_rng(seed)
    mean = rng.gamma(shape, depth / shape, N_GENES) * rng.lognormal(0, 0.5, (N_CELLS, 1))
    x = rng.poisson(rng.gamma(2.0, mean / 2 + 1e-12))
    x[:, 0] += 1
    return x


def caused(x: np.ndarray) -> Cause:
    cells = sparse.csr_matrix(np.float64(np.float32(x)))
    cells.eliminate_zeros()
    return likely_cause(cells, float(np.mean(np.rint(cells.data) != cells.data)))


in_depths = pytest.mark.parametrize("depth", [0.3, 2, 20, 300])
in_shapes = pytest.mark.parametrize("shape", [0.3, 1.0])


@in_depths
@in_shapes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_function_of_counts_is_named(name: str, depth: float, shape: float):
    cause = caused(ELEMENTWISE[name](simulated(depth, shape)))
    assert name in cause.sentence
    assert not cause.is_estimate


@in_depths
@in_shapes
@pytest.mark.parametrize("name", OF_NORMALISED)
def test_functions_of_normalised_values_are_no_estimates(name: str, depth: float, shape: float):
    x = OF_NORMALISED[name](simulated(depth, shape), np.random.default_rng(1))
    cause = caused(x)
    assert not cause.is_estimate
    assert "round" not in cause.sentence
    kind = "scaled" if name == "z-scores" else "log|square root|normalised|TPM"
    assert re.search(kind, cause.sentence)


@in_depths
@in_shapes
@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_are_said_to_be_so(name: str, depth: float, shape: float):
    if name == "less ambient (SoupX)" and depth == 300:
        pytest.skip("the values of so deep cells do not tell")
    x = ESTIMATES[name](simulated(depth, shape), np.random.default_rng(1))
    cause = caused(x)
    assert cause.is_estimate
    assert "round" in cause.sentence or "errors" in cause.sentence


@pytest.mark.parametrize("decimals", [1, 2, 3, 4])
def test_decimal_places(decimals: int):
    values = np.random.default_rng(0).random(50).round(decimals)
    assert resolution(values) == pytest.approx(10.0**-decimals)
    assert resolution(np.float64(np.float32(values))) == pytest.approx(10.0**-decimals)
    assert resolution(np.random.default_rng(0).random(50)) == 0


def test_numbers_of_any_kind_are_no_function_of_counts():
    rng = np.random.default_rng(0)
    for values in (
        rng.random(2000) * 10,
        rng.lognormal(0, 2, 2000),
        rng.random(2000).round(2) * 9,
    ):
        assert not any(leaves_integers(values, undo) for undo in OF_COUNTS.values())


def test_integers_that_a_root_leaves_are_no_sign_of_estimates():
    x = simulated(2, 1.0).astype(float)
    assert integer_share(np.sqrt(x[x > 0])) == 0
    assert integer_share(np.minimum(3 * np.random.default_rng(0).random(100), 1)) == 0
    assert integer_share(expectation(x, np.random.default_rng(0))[x > 0]) > 0.3


def message(x: np.ndarray) -> str:
    with pytest.raises(DataError) as error:
        check_counts(AnnData(np.float32(x)))
    return str(error.value)


def test_the_error_advises_rounding_of_estimates_alone():
    x = simulated(2, 1.0)
    rng = np.random.default_rng(0)
    assert "np.rint" in message(expectation(x, rng))
    assert "np.rint" in message(less_ambient(x, rng) + np.eye(N_CELLS, N_GENES))
    for name in ELEMENTWISE:
        text = message(ELEMENTWISE[name](x))
        assert "round" not in text
        assert "rint" not in text


REAL = ["pbmc3k", "cortex_zeisel", "panc8_small", "klein_es", "cellbench_3tech", "worm_neuron"]


@pytest.mark.parametrize("name", REAL)
def test_real_counts(name: str, real_data: Callable[[str], AnnData]):
    adata = real_data(name)
    rng = np.random.default_rng(0)
    x = adata.X[rng.permutation(adata.n_obs)[:200]]
    x = x.toarray() if sparse.issparse(x) else x
    x = x[:, np.argsort(-x.var(axis=0))[:1000]].astype(float)
    x = x[x.sum(axis=1) > 0]
    for kind, function in ELEMENTWISE.items():
        cause = caused(function(x))
        assert kind in cause.sentence, kind
        assert not cause.is_estimate, kind
    for kind, of_normalised in OF_NORMALISED.items():
        assert not caused(of_normalised(x, rng)).is_estimate, kind
    for kind, estimate in ESTIMATES.items():
        assert caused(estimate(x, rng)).is_estimate, kind
