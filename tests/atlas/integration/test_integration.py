"""Scores of an integration: scib-metrics' own, ordered as the truth is, and reproducible."""

import os
import sys

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiled for a few cells only

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData
from scipy.spatial.distance import cdist

from lucidvi import atlas
from lucidvi.atlas.integration._baselines import principal_components
from lucidvi.atlas.integration._scored import scored_cells
from lucidvi.atlas.integration._scores import METRICS, totals
from lucidvi.errors import DataError, MissingKeyError, MissingPackageError, ModelTypeError
from lucidvi.model import SCVI

scib = pytest.importorskip("scib_metrics", reason='pip install "lucidvi[scib]"')

#: JAX compiles for each shape: every embedding here has this one, and every label as many cells.
N_LABEL, N_LATENT = 80, 10


def balanced(simulate, n_genes=N_LATENT + 1):
    """Cells of which each type has as many in each batch."""
    adata = simulate(500)[:, :n_genes]
    strata = adata.obs.groupby(["cell_type", "batch"], observed=True)
    return adata[strata.head(N_LABEL // 2).index].copy()


def trained(adata, **setup):
    SCVI.setup_anndata(adata, **setup)
    model = SCVI(adata, n_hidden=16, n_latent=N_LATENT)
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    return model


def instead_of_kbet(neighbours, batches, labels):
    """A score of the same arguments, which JAX need not compile for half a minute."""
    near, batches, labels = neighbours.indices[:, 1:], np.asarray(batches), np.asarray(labels)
    return float(((batches[near] != batches[:, None]) & (labels[near] == labels[:, None])).mean())


@pytest.fixture(scope="module", autouse=True)
def quick_kbet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scib, "kbet_per_label", instead_of_kbet)
        yield


@pytest.fixture(scope="module")
def model(simulate):
    return trained(balanced(simulate), batch_key="batch")


@pytest.fixture(scope="module")
def arrays(model):
    """Embeddings whose order is known: types alone, types with batches apart, noise."""
    obs, rng = model.adata.obs, np.random.default_rng(0)
    noise = rng.normal(size=(len(obs), N_LATENT))
    mixed = noise + 4 * np.eye(3, N_LATENT)[obs["cell_type"].cat.codes]
    apart = mixed + np.outer(obs["batch"].cat.codes, 8 * np.eye(N_LATENT)[5])
    return {"mixed": mixed, "apart": apart, "noise": noise}


@pytest.fixture(scope="module")
def table(model, arrays):
    return atlas.score_integration(model, against=arrays)


def by_brute_force(states, k):
    """The nearest ``k`` cells of each and their distances."""
    distances = cdist(states, states)
    nearest = distances.argsort(axis=1)[:, :k]
    ordered = np.take_along_axis(distances, nearest, axis=1)
    return scib.nearest_neighbors.NeighborsResults(indices=nearest, distances=ordered)


@pytest.mark.slow  # JAX compiles
@pytest.mark.filterwarnings("ignore:PCR comparison score is negative")
def test_scores_are_those_of_the_benchmarker(table, model, arrays):
    from scib_metrics.benchmark import Benchmarker

    adata = AnnData(obs=model.adata.obs.copy(), obsm={k: np.float32(v) for k, v in arrays.items()})
    adata.obsm["pre"] = principal_components(model.adata.X)
    benchmarker = Benchmarker(
        adata,
        "batch",
        "cell_type",
        list(arrays),
        pre_integrated_embedding_obsm_key="pre",
        progress_bar=False,
    )
    benchmarker.prepare(by_brute_force)
    benchmarker.benchmark()
    expected = benchmarker.get_results().drop("Metric Type").astype(float)
    found = table.scores.loc[list(arrays)]
    names = {
        "isolated labels": "Isolated labels",
        "NMI": "KMeans NMI",
        "ARI": "KMeans ARI",
        "silhouette": "Silhouette label",
        "cLISI": "cLISI",
        "BRAS": "BRAS",
        "iLISI": "iLISI",
        "kBET": "KBET",
        "connectivity": "Graph connectivity",
        "PCR": "PCR comparison",
    }
    assert list(names) == list(METRICS)
    for metric, theirs in names.items():
        mine = found[(METRICS[metric].group, metric)]
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(mine, expected.loc[list(arrays), theirs], atol=1e-5)
    assert np.isfinite(found["total"]["total"]).all()
    np.testing.assert_allclose(found["total"]["total"], expected["Total"], atol=1e-5)


@pytest.mark.slow
def test_order_of_known_embeddings(table):
    total = table.scores["total"]
    assert total.loc["mixed", "batch correction"] > total.loc["apart", "batch correction"] + 0.3
    assert total.loc["mixed", "bio conservation"] > total.loc["noise", "bio conservation"] + 0.3
    assert table.total.idxmax() == "mixed"
    assert table.scores.to_numpy().min() >= 0
    assert table.scores.to_numpy().max() <= 1


@pytest.mark.slow
def test_facts_and_text(table):
    assert (table.n_cells, table.n_labels, table.n_batches) == (240, 3, 2)
    assert list(table.scores.index) == ["model", "mixed", "apart", "noise"]
    assert table.seconds["model"] > 0.01
    assert table.seconds.drop("model").isna().all()
    text = str(table)
    assert text.startswith("240 cells, 3 labels ('cell_type'), 2 batches ('batch')")
    assert f"{table.total['mixed']:.3f}" in text
    assert not table.notes


@pytest.fixture(scope="module")
def without_batches(simulate):
    """A model without batches, of few cells, some without a label and one alone with its own."""
    adata = balanced(simulate)
    more = adata[:8].copy()
    more.obs_names = [f"more{i}" for i in range(8)]
    more.obs["cell_type"] = [np.nan] * 7 + ["rare"]
    adata = anndata.concat([adata, more])
    adata.obsm["X_other"] = np.random.default_rng(0).normal(size=(248, N_LATENT))
    return trained(adata)


@pytest.mark.slow
def test_without_batches(without_batches):
    before = without_batches.adata.copy()
    states = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    setting = scvi.settings.seed
    arguments = {"against": ["X_other", "pca", "scvi"], "train_kwargs": {"max_epochs": 2}}
    first, second = (atlas.score_integration(without_batches, **arguments) for _ in range(2))
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)
    assert list(first.scores.index) == ["model", "X_other", "pca", "scvi"]
    assert set(first.scores.columns.get_level_values("group")) == {"bio conservation", "total"}
    np.testing.assert_allclose(first.total, first.scores["bio conservation"].mean(axis=1))
    assert (first.n_cells, first.n_labels, first.batch_key) == (240, 3, None)
    assert first.seconds[["pca", "scvi"]].gt(0).all()
    missing, single, batches = first.notes
    assert "7 cells have no label" in missing
    assert "single cell are not scored: 'rare'" in single
    assert "has no batches" in batches
    # Nothing of the user's has changed.
    assert scvi.settings.seed == setting
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[1])
    pd.testing.assert_frame_equal(without_batches.adata.obs, before.obs)
    assert list(without_batches.adata.uns) == list(before.uns)


def test_sample_has_all_strata(simulate):
    adata = simulate(1000)
    cells = scored_cells(adata, "cell_type", "batch", 100, seed=0)
    assert len(cells.positions) == 100
    assert (np.diff(cells.positions) > 0).all()
    drawn = adata.obs.iloc[cells.positions].value_counts(normalize=True)
    np.testing.assert_allclose(
        drawn, adata.obs.value_counts(normalize=True)[drawn.index], atol=0.011
    )
    again = scored_cells(adata, "cell_type", "batch", 100, seed=0)
    other = scored_cells(adata, "cell_type", "batch", 100, seed=1)
    np.testing.assert_array_equal(cells.positions, again.positions)
    assert (cells.positions != other.positions).any()
    names = adata.obs["cell_type"].to_numpy()[cells.positions]
    assert len(set(zip(names, cells.labels, strict=True))) == 3


def test_one_batch_is_said(simulate):
    cells = scored_cells(simulate(60, n_batches=1), "cell_type", "batch", 100, seed=0)
    assert cells.batches is None
    assert "are of the batch 'lane0'" in cells.notes[0]


def test_totals():
    found = {"NMI": 0.2, "ARI": 0.4, "iLISI": 0.5, "PCR": 1.0}
    expected = {"bio conservation": 0.3, "batch correction": 0.75, "total": 0.6 * 0.3 + 0.4 * 0.75}
    assert totals(found) == pytest.approx(expected)
    assert totals({"NMI": 0.2}) == {"bio conservation": 0.2}


def test_principal_components(simulate):
    """Against the singular values of the centred matrix itself."""
    counts = simulate(80).X
    found = principal_components(counts)
    assert found.shape == (80, 50)
    dense = counts.toarray()
    sums = dense.sum(axis=1, keepdims=True)
    logs = np.log1p(dense / sums * np.median(sums))
    values = np.linalg.svd(logs - logs.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), values[:50], rtol=1e-3)


WRONG = {
    "no column": ({"labels_key": "celltype"}, MissingKeyError, "celltype"),
    "no batches": ({"batch_key": "lane"}, MissingKeyError, "lane"),
    "one label": ({"labels_key": "same"}, DataError, "of 1 label with two cells"),
    "each its own": ({"labels_key": "name"}, DataError, "of 0 label"),
    "no such key": ({"against": ["X_pca"]}, MissingKeyError, "'X_pca', no key"),
    "a string": ({"against": "pca"}, DataError, "`against` is 'pca'"),
    "too few rows": ({"against": {"short": np.ones((3, 2))}}, DataError, r"shape \(3, 2\)"),
    "NaN": ({"against": {"bad": np.full((248, 2), np.nan)}}, DataError, "not finite in cell 0"),
    "taken": ({"against": {"model": np.ones((248, 2))}}, DataError, "the name 'model'"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_clear_error(without_batches, arguments, error, message):
    obs = without_batches.adata.obs
    obs["same"], obs["name"] = "T", without_batches.adata.obs_names
    with pytest.raises(error, match=message) as raised:
        atlas.score_integration(without_batches, **arguments)
    assert raised.value.remedy
    del obs["same"], obs["name"]


def test_wrong_models(simulate):
    with pytest.raises(ModelTypeError, match="AnnData, which has no latent space"):
        atlas.score_integration(simulate(5))
    adata = simulate(20)
    SCVI.setup_anndata(adata)
    with pytest.raises(DataError, match="is not trained"):
        atlas.score_integration(SCVI(adata))


def test_without_scib_metrics(without_batches, monkeypatch):
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(MissingPackageError, match=r'pip install "lucidvi\[scib\]"'):
        atlas.score_integration(without_batches)
