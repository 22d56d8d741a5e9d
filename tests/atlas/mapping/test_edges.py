"""Queries and references at the edges: repeated names, one cell, unused and missing columns."""

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from lucidvi.atlas import Reference
from lucidvi.errors import DataError, LucidVIError, MissingKeyError
from lucidvi.model import SCVI

LOC = "X_lucidvi"


def same(out, expected):
    np.testing.assert_array_equal(out.obsm[LOC], expected.obsm[LOC])
    assert list(out.obs["lucidvi_call"]) == list(expected.obs["lucidvi_call"])


def with_column(query, key, values):
    query = query.copy()
    query.obs[key] = values
    return query


@pytest.fixture(scope="module")
def expected(reference, query):
    """What the query is mapped to; no test changes it."""
    return reference.map(query)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_names_of_reference_cells(model, query, expected, tmp_path):
    """Cells are told by their position, also after saving."""
    named = AnnData(model.adata.X, obs=model.adata.obs.copy(), var=model.adata.var.copy())
    named.obs_names = ["cell"] * named.n_obs
    model.save(str(tmp_path / "model"))
    copy = SCVI.load(str(tmp_path / "model"), adata=named, accelerator="cpu")
    for name in ("train_indices_", "validation_indices_", "test_indices_"):
        setattr(copy, name, getattr(model, name))
    Reference.from_model(copy).save(tmp_path / "reference")
    out = Reference.load(tmp_path / "reference").map(query)
    np.testing.assert_allclose(out.obsm[LOC], expected.obsm[LOC], rtol=1e-5, atol=1e-5)
    assert (out.obs["lucidvi_label"] == expected.obs["lucidvi_label"]).all()


def test_a_query_of_one_label_and_of_one_cell(reference, query, expected):
    chosen = np.flatnonzero(query.obs["cell_type"] == "NK")
    for cells in (chosen, chosen[:1]):
        out = reference.map(query[cells].copy())
        np.testing.assert_allclose(out.obsm[LOC], expected.obsm[LOC][cells], atol=1e-4)


def test_a_new_batch_of_one_cell(reference, query, expected):
    """It is learned, and the others are where they were."""
    batch = np.where(np.arange(query.n_obs) == 3, "mine", query.obs["batch"].astype(str))
    out = reference.map(with_column(query, "batch", batch))
    assert list(out.uns["lucidvi"]["new_batches"]) == ["mine"]
    others = np.arange(query.n_obs) != 3
    np.testing.assert_allclose(out.obsm[LOC][others], expected.obsm[LOC][others], atol=1e-4)
    assert np.isfinite(out.obsm[LOC]).all()


def test_unused_categories(reference, query, expected):
    values = pd.Categorical(query.obs["batch"], categories=["other", "lane1", "lane0"])
    same(reference.map(with_column(query, "batch", values)), expected)
    del (without_labels := query.copy()).obs["cell_type"]
    same(reference.map(without_labels), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_confidence": 2}, "`min_confidence` is 2"),
        ({"min_confidence": "high"}, "`min_confidence` is 'high'"),
        ({"novelty_rate": np.nan}, "`novelty_rate` is nan"),
        ({"novelty_rate": None}, "`novelty_rate` is None"),
        ({"novelty_rate": np.array([0.1, 0.2])}, "`novelty_rate` is array"),
        ({"batch_key": "btch"}, "batch_key='btch': there is no such query.obs column"),
        ({"layer": "counts"}, "layer='counts': there is no such layer"),
        ({"gene_key": "symbol"}, "gene_key='symbol': there is no such column"),
    ],
)
def test_wrong_arguments(reference, query, arguments, message):
    with pytest.raises(LucidVIError, match=message):
        reference.map(query, **arguments)


def test_rates_of_numpy(reference, query, expected):
    same(reference.map(query, novelty_rate=np.float64(0.05), min_confidence=np.int8(1)), expected)


@pytest.fixture(scope="module")
def with_covariates(simulate):
    adata = simulate(80)
    adata.obs["level"], adata.obs["age"] = np.resize([1, 2], 80), np.linspace(-1, 1, 80)
    setup = {"categorical_covariate_keys": ["level"], "continuous_covariate_keys": ["age"]}
    SCVI.setup_anndata(adata, batch_key="batch", **setup)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reference.from_model(model), adata[:30].copy()


@pytest.mark.parametrize("column", ["level", "age"])
def test_a_missing_covariate(with_covariates, column):
    reference, query = with_covariates
    query = query.copy()
    del query.obs[column]
    with pytest.raises(MissingKeyError, match=rf"query.obs has no column '{column}'") as raised:
        reference.map(query)
    assert f'query.obs["{column}"] = ' in raised.value.remedy


@pytest.mark.parametrize("dtype", [float, str, bool, "string", "category"])
def test_a_covariate_of_another_dtype(with_covariates, dtype):
    reference, query = with_covariates
    one = with_column(query, "level", 1)
    right = reference.map(one)
    same(reference.map(with_column(query, "level", one.obs["level"].astype(dtype))), right)


def test_an_unknown_value_of_a_covariate(with_covariates):
    reference, query = with_covariates
    values = np.where(np.arange(30) < 3, "3.0", "2.0")
    with pytest.raises(DataError, match=r"query.obs\[.level.\].* holds '3.0' \(text\)") as raised:
        reference.map(with_column(query, "level", values))
    names = {"query": with_column(query, "level", values)}
    exec(raised.value.remedy.removeprefix("leave these cells out, "), names)
    right = reference.map(with_column(query, "level", 2)[3:].copy())
    same(reference.map(names["query"]), right)
