"""Another depth: what is kept, what is added, against closed forms."""

import numpy as np
import pytest
from anndata import AnnData
from scipy import stats

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.simulate import resequence

MU, THETA, ZI = [0.3, 2.0, 15.0], [0.4, 1.5, 6.0], [0.1, 0.3, 0.5]


def distribution(likelihood, mu, theta, zi):
    """Probabilities of 0, 1, ... under a likelihood."""
    x = np.arange(3000)
    if likelihood == "poisson":
        return stats.poisson(mu).pmf(x)
    zi = zi if likelihood == "zinb" else 0
    return zi * (x == 0) + (1 - zi) * stats.nbinom(theta, theta / (theta + mu)).pmf(x)


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
def test_cells_of_the_model_become_deeper_cells_of_the_model(make_known, likelihood):
    theta = {"theta": THETA} if likelihood != "poisson" else {}
    zi = {"zi": ZI} if likelihood == "zinb" else {}
    model = make_known(MU, likelihood=likelihood, **theta, **zi)
    out = resequence(model, depth_factor=4, posterior="encoder")
    for gene, (mu, theta, zi) in enumerate(zip(MU, THETA, ZI, strict=True)):
        pmf = distribution(likelihood, 4 * mu, theta, zi)
        found = np.bincount(out.X[:, gene].toarray().ravel().astype(int), minlength=3000)
        # Counts in bins that hold at least twenty cells.
        edges = np.unique(np.searchsorted(pmf.cumsum(), np.arange(0.0, 1, 0.02)))
        want = np.add.reduceat(pmf, edges) * out.n_obs
        edges = edges[want >= 20] if want[0] >= 20 else edges
        edges[0] = 0
        want, found = np.add.reduceat(pmf, edges), np.add.reduceat(found, edges)
        assert stats.chisquare(found, want / want.sum() * found.sum()).pvalue > 1e-3


def test_expected_counts_in_closed_form(make_known):
    model = make_known(MU, THETA, n_cells=50)
    out = resequence(model, depth_factor=3, n_samples=4)
    x = model.adata.X.toarray()[:, :3]
    shape, rate = THETA + x, 1 + np.array(THETA) / MU
    np.testing.assert_allclose(out.layers["expected"][:, :3], x + 2 * shape / rate, rtol=1e-4)
    variance = 2 * shape / rate + 4 * shape / rate**2
    np.testing.assert_allclose(out.layers["count_sd"][:, :3] ** 2, variance, rtol=1e-3)
    assert out.layers["expected_sd"].max() < 0.05  # the decoder does not look at the state


def test_depth_that_falls_rises_and_stays(model):
    before = model.adata.X.toarray()
    factor = np.resize([0.3, 1.0, 4.0], model.adata.n_obs)
    out = resequence(model, depth_factor=factor)
    after = out.X.toarray()
    assert (after[factor < 1] <= before[factor < 1]).all()
    assert (after[factor == 1] == before[factor == 1]).all()
    assert (after[factor > 1] >= before[factor > 1]).all()
    totals = before.sum(axis=1)
    np.testing.assert_allclose(out.obs["lucidvi_depth"], factor * totals, rtol=1e-6)
    for value in (0.3, 4.0):
        ratio = after[factor == value].sum() / (value * before[factor == value].sum())
        assert ratio == pytest.approx(1, abs=0.08)


def test_output(model):
    out = resequence(model, depth=100.0, indices=[3, 1])
    assert out.X.format == "csr"
    assert out.X.dtype == np.float32
    assert (out.X.data % 1 == 0).all()
    assert list(out.obs_names) == ["cell3", "cell1"]
    assert out.var_names.equals(model.adata.var_names)
    assert out.obsm["X_lucidvi"].shape == (2, 3)
    assert not any(column.startswith("_scvi") for column in out.obs)
    record = out.uns["lucidvi_simulation"]
    assert record["function"] == "resequence"
    assert record["request"]["depth"] == 100
    assert record["request"]["depth_factor"] == "None"


def test_counts_in_another_layer(model):
    adata = model.adata.copy()
    adata.layers["spliced"], adata.X = adata.X, adata.X * 2
    out = resequence(model, adata, depth_factor=1.0, layer="spliced")
    np.testing.assert_array_equal(out.X.toarray(), model.adata.X.toarray())


def test_a_model_of_scvi_tools(model):
    theirs = model.to_scvi_model()
    out, want = resequence(theirs, depth_factor=2.0), resequence(model, depth_factor=2.0)
    np.testing.assert_array_equal(out.X.toarray(), want.X.toarray())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, DataError, "Give exactly one"),
        ({"depth": 10, "depth_factor": 2}, DataError, "Give exactly one"),
        ({"depth": 0}, DataError, "`depth` is 0"),
        ({"depth": -5.0}, DataError, "`depth` is -5"),
        ({"depth_factor": np.nan}, DataError, "`depth_factor` is nan"),
        ({"depth_factor": "two"}, DataError, "`depth_factor` is 'two'"),
        ({"depth": [10.0, 20.0]}, DataError, "150 cells"),
        ({"depth_factor": np.append(np.ones(149), 0)}, DataError, "1 of 150 cells, 149 first"),
        ({"depth_factor": 2, "layer": "raw"}, MissingKeyError, "no layer"),
        ({"depth_factor": 2, "posterior": "exact"}, DataError, "'encoder'"),
        ({"depth_factor": 2, "n_samples": 0}, DataError, "`n_samples` is 0"),
        ({"depth_factor": 2, "indices": [150]}, DataError, "150 cells"),
        ({"depth_factor": 2, "indices": []}, DataError, "at least one cell"),
        ({"depth_factor": 2, "indices": ["cell0", "cellar"]}, DataError, "'cellar'"),
    ],
)
def test_bad_requests(model, arguments, error, message):
    with pytest.raises(error, match=message):
        resequence(model, **arguments)


def test_counts_that_are_none(model):
    adata = AnnData(
        model.adata.X.toarray(), obs=model.adata.obs.copy(), var=model.adata.var.copy()
    )
    adata.X[3, 2] = np.nan
    with pytest.raises(DataError, match="NaN"):
        resequence(model, adata, depth_factor=2.0)
