"""Genes that go along with fates: against SciPy, gene by gene."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

from lucidvi import dynamics
from lucidvi.errors import DataError

RNG = np.random.default_rng(0)
FATES = pd.DataFrame(RNG.dirichlet(np.ones(3), 80), columns=["a", "b", "c"])
EXPRESSION = RNG.normal(size=(80, 12)) * RNG.binomial(1, 0.5, (80, 12))
EXPRESSION[:, 3] += 4 * FATES["b"]
NAMES = [f"Gene{i}" for i in range(12)]


def test_each_gene_and_fate_alone():
    table = dynamics.driver_genes(EXPRESSION, FATES, genes=NAMES)
    assert len(table) == 36
    assert table["fate"].tolist() == ["a"] * 12 + ["b"] * 12 + ["c"] * 12
    for fate, part in table.groupby("fate"):
        assert part["correlation"].is_monotonic_decreasing
        assert set(part["gene"]) == set(NAMES)
        np.testing.assert_allclose(
            part["q_value"], stats.false_discovery_control(part["p_value"]), rtol=1e-9
        )
        for row in part.itertuples():
            expected = stats.pearsonr(EXPRESSION[:, NAMES.index(row.gene)], FATES[fate])
            assert row.correlation == pytest.approx(expected.statistic)
            assert row.z == pytest.approx(np.arctanh(expected.statistic))
            assert row.se == pytest.approx(77**-0.5)
            assert row.p_value == pytest.approx(2 * stats.norm.sf(abs(row.z) / row.se))
            assert row.p_value == pytest.approx(expected.pvalue, abs=0.01)
    best = table[table["fate"] == "b"].iloc[0]
    assert best["gene"] == "Gene3"
    assert best["q_value"] < 1e-6


def test_p_values_are_even_where_there_is_nothing():
    rng = np.random.default_rng(0)
    table = dynamics.driver_genes(rng.normal(size=(60, 4_000)), FATES[:60])
    assert stats.kstest(table.loc[table["fate"] == "a", "p_value"], "uniform").pvalue > 0.01
    assert (table["q_value"] < 0.05).mean() < 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kind",
    [
        np.asarray,
        sparse.csr_matrix,
        sparse.csc_array,
        lambda x: pd.DataFrame(x, columns=NAMES),
        np.asfortranarray,
    ],
)
def test_forms(kind, dtype):
    expected = dynamics.driver_genes(EXPRESSION, FATES, genes=NAMES)
    found = dynamics.driver_genes(kind(EXPRESSION.astype(dtype)), FATES, genes=NAMES)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-4)


def test_names():
    frame = pd.DataFrame(EXPRESSION, columns=NAMES)
    assert set(dynamics.driver_genes(frame, FATES)["gene"]) == set(NAMES)
    assert set(dynamics.driver_genes(EXPRESSION, FATES)["gene"]) == set(range(12))


def test_cells_without_a_fate_are_left_out():
    fates = FATES.copy()
    fates.iloc[50:] = np.nan
    found = dynamics.driver_genes(EXPRESSION, fates)
    pd.testing.assert_frame_equal(found, dynamics.driver_genes(EXPRESSION[:50], FATES[:50]))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("value", [0.0, 3.3, 1e6 / 3])
def test_what_does_not_vary(kind, value):
    expression = EXPRESSION.copy()
    expression[:, 5] = value
    fates = FATES.assign(d=0.25)
    table = dynamics.driver_genes(kind(expression), fates, genes=NAMES)
    constant = (table["gene"] == "Gene5") | (table["fate"] == "d")
    numbers = ["correlation", "z", "se", "p_value", "q_value"]
    assert table.loc[constant, numbers].isna().all(axis=None)
    assert table.loc[~constant, numbers].notna().all(axis=None)
    assert (table["gene"][table["fate"] == "a"].iloc[-1]) == "Gene5"


def test_one_that_is_the_fate():
    table = dynamics.driver_genes(FATES.to_numpy(), FATES, genes=["a", "b", "c"])
    same = table[table["fate"] == table["gene"]]
    np.testing.assert_allclose(same["correlation"], 1)
    assert np.isfinite(same["z"]).all()
    assert (same["p_value"] < 1e-100).all()


@pytest.mark.parametrize(
    ("expression", "fates", "genes", "problem"),
    [
        (EXPRESSION[:70], FATES, None, "`fates` has 80 rows, and `expression` 70 cells"),
        (EXPRESSION, FATES.to_numpy(), None, "`fates` is a ndarray"),
        (EXPRESSION, FATES[[]], None, "`fates` is a DataFrame"),
        (EXPRESSION, FATES[:3].reindex(range(80)), None, "`fates` are known of 3 of 80 cells"),
        (EXPRESSION, FATES, NAMES[:3], "`genes` has 3 names, and `expression` 12 columns"),
        (EXPRESSION[:, 0], FATES, None, "no two dimensions"),
        (EXPRESSION + np.inf, FATES, NAMES, "not finite in 12 of 12 genes, 'Gene0' first"),
        (AnnData(EXPRESSION), FATES, None, "`expression` is AnnData"),
        (EXPRESSION.astype(str).astype(object) + "x", FATES, None, "of what is no number"),
        (
            pd.DataFrame(EXPRESSION, index=list(map(str, range(80)))),
            FATES.set_index(np.arange(80).astype(str)[::-1]),
            None,
            "`fates` has other names of cells than `expression`",
        ),
    ],
)
def test_bad_input(expression, fates, genes, problem):
    with pytest.raises(DataError, match=problem) as caught:
        dynamics.driver_genes(expression, fates, genes=genes)
    assert caught.value.remedy


def test_the_first_bad_gene_of_a_sparse_matrix():
    expression = EXPRESSION.copy()
    expression[7, 4] = np.nan
    with pytest.raises(DataError, match="not finite in 1 of 12 genes, 'Gene4' first"):
        dynamics.driver_genes(sparse.csr_matrix(expression), FATES, genes=NAMES)
