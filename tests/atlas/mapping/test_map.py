"""Mapping: right where the truth is known, the same whatever the form of the query."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from lucidvi.atlas.labels._votes import votes
from lucidvi.errors import DataError, GeneMismatchError, MissingKeyError
from lucidvi.model import SCVI

LOC, SCALE = "X_lucidvi", "X_lucidvi_scale"


@pytest.fixture(scope="module")
def mapped(reference, query):
    return reference.map(query)


def accuracy(out):
    return float((out.obs["lucidvi_label"].astype(str) == out.obs["cell_type"].astype(str)).mean())


def distance(found, expected):
    return float(np.linalg.norm(found - expected, axis=1).mean())


def test_result(mapped, query):
    assert mapped.shape == query.shape
    assert mapped.obsm[LOC].shape == mapped.obsm[SCALE].shape == (120, 4)
    assert mapped.obsm[LOC].dtype == mapped.obsm[SCALE].dtype == np.float32
    added = {f"lucidvi_{name}" for name in ("label", "confidence", "novelty", "call")}
    assert set(mapped.obs) == {"cell_type", "batch"} | added
    assert mapped.obs["lucidvi_confidence"].between(1 / 3, 1).all()
    assert mapped.uns["lucidvi"]["share_of_genes"] == 1
    assert mapped.uns["lucidvi"]["share_of_information"] == pytest.approx(1)


def test_labels_are_recovered(mapped):
    assert accuracy(mapped) > 0.95


def test_latents_are_about_the_refined_ones(mapped, model, query):
    """In standard deviations of the posteriors; the encoder's are more than twice as far."""
    refined = model.refine_posterior(query.copy())
    encoded = model.get_latent_representation(query.copy())
    off, of_encoder = (
        np.sqrt((((loc - refined.loc) / refined.scale) ** 2).mean())
        for loc in (mapped.obsm[LOC], encoded)
    )
    assert off < 0.15
    assert off < of_encoder / 2
    assert np.abs(np.log(mapped.obsm[SCALE] / refined.scale)).mean() < 0.1


def test_latents_are_the_encoders_if_asked(reference, model, query):
    out = reference.map(query, posterior="encoder")
    loc, variance = model.get_latent_representation(query.copy(), return_dist=True)
    np.testing.assert_allclose(out.obsm[LOC], loc, atol=1e-5)
    np.testing.assert_allclose(out.obsm[SCALE], np.sqrt(variance), atol=1e-5)
    assert out.uns["lucidvi"]["posterior"] == "encoder"
    assert accuracy(out) > 0.95
    with pytest.raises(DataError, match="`posterior` is 'prior'"):
        reference.map(query, posterior="prior")


def test_result_can_be_written(mapped, tmp_path):
    mapped.write_h5ad(tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(back.obsm[LOC], mapped.obsm[LOC])
    assert back.uns["lucidvi"]["n_genes"] == 60


def test_missing_genes_are_not_zeros(reference, model, query, mapped):
    keep = np.random.default_rng(0).random(query.n_vars) < 0.4
    out = reference.map(query[:, keep])
    zeros = query.copy()
    zeros.X = query.X.multiply(keep).tocsr()
    encoded = model.get_latent_representation(zeros)
    assert distance(out.obsm[LOC], mapped.obsm[LOC]) < 0.7 * distance(encoded, mapped.obsm[LOC])
    flat = np.zeros_like(encoded)
    shares = votes(reference.data.neighbours, reference.labels.array.codes, 3, encoded, flat)
    by_zeros = reference.labels.cat.categories[shares.argmax(axis=1)]
    assert accuracy(out) > float((by_zeros == query.obs["cell_type"].astype(str)).mean()) + 0.1
    said = out.uns["lucidvi"]
    assert said["n_genes_measured"] == keep.sum()
    var = reference.cells.var
    assert said["share_of_information"] == pytest.approx(var["lucidvi_information"][keep].sum())
    assert said["share_of_expression"] == pytest.approx(var["lucidvi_expression"][keep].sum())


def permuted(query):
    return query[:, np.random.default_rng(0).permutation(query.n_vars)].copy()


def with_more_genes(query):
    more = AnnData(
        sparse.csr_matrix(np.ones((query.n_obs, 3), np.float32)),
        obs=query.obs[[]],
        var=pd.DataFrame(index=["other", "other", "third"]),  # repeated, but not the model's
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        both = anndata.concat([more, query], axis=1)
    both.obs = query.obs.copy()
    return both


def with_matrix(change):
    def form(query):
        query = query.copy()
        query.X = change(query.X)
        return query

    return form


def in_layer(query):
    query = query.copy()
    query.layers["counts"], query.X = query.X, query.X.log1p()
    return query


FORMS = {
    "permuted": permuted,
    "more genes": with_more_genes,
    "dense": with_matrix(lambda x: x.toarray()),
    "integers": with_matrix(lambda x: x.toarray().astype(np.int64)),
    "csc": with_matrix(lambda x: x.tocsc()),
    "csr_array": with_matrix(sparse.csr_array),
    "view": lambda query: query[:],
}


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_form_of_the_query_does_not_matter(reference, query, mapped, form):
    out = reference.map(form(query))
    np.testing.assert_array_equal(out.obsm[LOC], mapped.obsm[LOC])
    np.testing.assert_array_equal(out.obsm[SCALE], mapped.obsm[SCALE])
    assert (out.obs["lucidvi_label"] == mapped.obs["lucidvi_label"]).all()


def test_counts_in_a_layer(reference, query, mapped):
    out = reference.map(in_layer(query), layer="counts")
    np.testing.assert_array_equal(out.obsm[LOC], mapped.obsm[LOC])
    with pytest.raises(DataError, match="counts"):
        reference.map(in_layer(query))


@pytest.mark.parametrize("dense", [False, True])
def test_backed(reference, query, mapped, tmp_path, dense, monkeypatch):
    monkeypatch.setattr("lucidvi.data.matrices._stored.CHUNK", 17 * query.n_vars)
    stored = with_matrix(lambda x: x.toarray())(query) if dense else query
    stored.write_h5ad(tmp_path / "query.h5ad")
    backed = anndata.read_h5ad(tmp_path / "query.h5ad", backed="r")
    out = reference.map(backed)
    np.testing.assert_array_equal(out.obsm[LOC], mapped.obsm[LOC])
    assert not out.isbacked
    backed.file.close()


def test_one_cell(reference, query, mapped):
    out = reference.map(query[5:6])
    np.testing.assert_allclose(out.obsm[LOC], mapped.obsm[LOC][5:6], atol=1e-3)
    assert out.obs["lucidvi_label"].iloc[0] == mapped.obs["lucidvi_label"].iloc[5]


def test_mapping_changes_nothing(reference, query, simulate):
    loc, scale = reference.data.posteriors.loc.copy(), reference.data.posteriors.scale.copy()
    weights = {k: v.clone() for k, v in reference.model.module.state_dict().items()}
    before = query.copy()
    state = torch.random.get_rng_state()
    for cells in (query, simulate(40, seed=4, n_batches=1, first_batch=2)):
        reference.map(cells)
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(reference.data.posteriors.loc, loc)
    np.testing.assert_array_equal(reference.data.posteriors.scale, scale)
    for name, value in reference.model.module.state_dict().items():
        assert torch.equal(value, weights[name])
    assert query.obs.equals(before.obs)
    assert (query.X != before.X).nnz == 0
    assert not query.uns
    assert not query.obsm


def test_another_column_for_the_batch(reference, query, mapped):
    renamed = query.copy()
    renamed.obs = renamed.obs.rename(columns={"batch": "lane"})
    out = reference.map(renamed, batch_key="lane")
    np.testing.assert_array_equal(out.obsm[LOC], mapped.obsm[LOC])
    with pytest.raises(MissingKeyError, match="batch"):
        reference.map(renamed)


def test_a_labels_key_of_the_model_need_not_be_in_the_query(simulate):
    from lucidvi.atlas import Reference

    adata = simulate(100)
    SCVI.setup_anndata(adata, labels_key="cell_type")
    model = SCVI(adata, n_hidden=16, n_latent=3)
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    cells = simulate(10, seed=2)
    del cells.obs["cell_type"]
    reference = Reference.from_model(model)
    assert reference.batches is None
    assert reference.map(cells).n_obs == 10
    with pytest.raises(DataError, match="without batches"):
        reference.map(cells, batch_key="batch")


def nan(query):
    query.X = query.X.toarray()
    query.X[3, 4] = np.nan
    return query


def without_counts(query):
    query.X = query.X.toarray()
    query.X[3] = 0
    return query


def named(change):
    def wrong(query):
        query.var_names = [change(name) for name in query.var_names]
        return query

    return wrong


WRONG = {
    "normalised": (with_matrix(lambda x: x.log1p()), DataError, "not"),
    "NaN": (nan, DataError, "NaN"),
    "no cells": (lambda query: query[:0].copy(), DataError, "0 cells"),
    "an empty cell": (without_counts, DataError, "without a single count"),
    "no gene in common": (named(lambda name: f"x{name}"), GeneMismatchError, "none of the model"),
    "upper case": (named(str.upper), GeneMismatchError, "'GENE0' in the query is 'Gene0'"),
    "a gene twice": (
        named(lambda name: "Gene1" if name == "Gene2" else name),
        DataError,
        "more than once: 'Gene1'",
    ),
}


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(("change", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_queries_are_one_clear_error(reference, query, change, error, message):
    wrong = change(query.copy())
    obs, obsm = wrong.obs.copy(), list(wrong.obsm)
    with pytest.raises(error, match=message) as raised:
        reference.map(wrong)
    assert raised.value.remedy
    assert wrong.obs.equals(obs)
    assert list(wrong.obsm) == obsm
    assert not wrong.uns


def test_a_cell_without_counts_of_the_measured_genes(reference, query):
    cells = with_matrix(lambda x: x.toarray())(query)
    cells.X[2, :30] = 0
    with pytest.raises(DataError, match="1 of 120 cells have no count of the model's genes"):
        reference.map(
            anndata.AnnData(
                cells.X,
                obs=cells.obs,
                var=pd.DataFrame(
                    index=[*cells.var_names[:30], *(f"strange{i}" for i in range(30))]
                ),
            )
        )


def test_genes_in_another_case_are_announced(reference, query):
    query = query.copy()
    query.var_names = [name.upper() if name == "Gene3" else name for name in query.var_names]
    with pytest.warns(UserWarning, match="'GENE3' in the query is 'Gene3'"):
        assert reference.map(query).uns["lucidvi"]["n_genes_measured"] == 59
