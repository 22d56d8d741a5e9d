"""Runs that agree, runs that do not, and models that are trained again."""

import json
import pickle

import anndata
import numpy as np
import pytest
import scvi
import torch
from scipy.stats import ortho_group, spearmanr
from sklearn.cross_decomposition import CCA
from sklearn.metrics import adjusted_rand_score

from lucidvi.audit import stability
from lucidvi.audit.retraining import Run, across_runs
from lucidvi.audit.retraining._agreement import (
    leiden,
    matched_correlation,
    nearest,
    neighbour_overlap,
    rank_correlation,
    subspace_similarity,
    top_overlap,
)
from lucidvi.audit.retraining._retraining import Recipe, preset_of, retrained, training_of
from lucidvi.audit.subject._sample import Sample
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError, TrainingError
from lucidvi.model import SCVI
from lucidvi.results import Stability

N_CELLS, N_LATENT, N_GENES = 600, 6, 1000
SIZES = np.array([3.0, 2.5, 2.0, 1.6, 1.3, 1.0])
MEASURES = (
    "neighbours",
    "clusters",
    "subspace",
    "raw_axes",
    "canonical_axes",
    "fold_changes",
    "top_genes",
)


def states(seed=0):
    """Cells of four types, in axes that move expression by unequal amounts."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(4, N_LATENT))
    return (centres[rng.integers(4, size=N_CELLS)] + rng.normal(size=(N_CELLS, N_LATENT))) * SIZES


def run(loc, directions=None, change_seed=0, used=N_LATENT):
    """A run whose canonical directions are its own axes unless they are given."""
    directions = np.eye(N_LATENT) if directions is None else directions
    change = np.random.default_rng(change_seed).normal(size=N_GENES)
    return Run(loc, directions, used, change)


def compare(*runs):
    return across_runs(runs, [f"run {i}" for i in range(len(runs))], ("T", "B"))


def verdicts(found):
    return {criterion.name: criterion.verdict for criterion in found.criteria}


# -- runs that are made up ---------------------------------------------------------------------


def test_identical_runs_agree_about_everything():
    found = compare(run(states()), run(states()), run(states()))
    for name in MEASURES:
        np.testing.assert_allclose(getattr(found, name), np.ones(3), atol=1e-9)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert found.verdict == "ok"
    assert not found.cure


def test_a_rotated_run_agrees_but_for_its_axes():
    rotation = ortho_group.rvs(N_LATENT, random_state=1)
    found = compare(run(states()), run(states() @ rotation, rotation.T))
    for name in set(MEASURES) - {"raw_axes"}:
        assert getattr(found, name) == pytest.approx(1), name
    assert found.raw_axes < 0.9


def test_axes_in_another_order_and_with_other_signs_match():
    rng = np.random.default_rng(2)
    turned = np.eye(N_LATENT)[rng.permutation(N_LATENT)] * rng.choice([-1, 1], size=N_LATENT)
    found = compare(run(states()), run(states() @ turned))
    assert found.raw_axes == pytest.approx(1)
    assert found.canonical_axes == pytest.approx(1)


def test_runs_with_nothing_in_common_agree_as_chance_says():
    rng = np.random.default_rng(3)
    noise = [
        Run(
            rng.normal(size=(N_CELLS, N_LATENT)),
            np.eye(N_LATENT),
            N_LATENT,
            rng.normal(size=N_GENES),
        )
        for _ in range(6)
    ]
    found = compare(*noise)
    assert found.chance["neighbours"] == pytest.approx(30 / 599)
    assert found.chance["top_genes"] == pytest.approx(0.1)
    # Squared canonical correlations of independent normals sum to p q / (n - 1) on average.
    assert found.chance["subspace"] == pytest.approx(np.sqrt(6 / 599), abs=0.04)
    for name in MEASURES:
        assert getattr(found, name).mean() == pytest.approx(found.chance[name], abs=0.02), name
    assert set(verdicts(found).values()) == {"fail", "warn"}
    assert verdicts(found)["canonical_axes"] == "warn"
    for line in found.cure.split("\n\n"):
        compile(line, "cure", "exec")


def test_unused_dimensions_do_not_count():
    rng = np.random.default_rng(4)
    one, other = states(), states()
    for loc in (one, other):
        loc[:, 4:] = 1e-3 * rng.normal(size=(N_CELLS, 2))
    found = compare(run(one, used=4), run(other, used=4))
    for name in ("subspace", "raw_axes", "canonical_axes"):
        assert getattr(found, name) == pytest.approx(1), name
    assert found.used.tolist() == [4, 4]


def test_a_run_that_uses_no_dimension_fails():
    found = compare(run(states()), run(1e-3 * states(1), used=0))
    assert verdicts(found)["subspace"] == "fail"
    assert verdicts(found)["canonical_axes"] == "warn"
    assert "no latent direction is in use" in found.criteria[2].statement


def test_few_cells_are_not_judged_by_their_directions():
    few = [Run(states(s)[:10], np.eye(N_LATENT), N_LATENT) for s in (0, 1)]
    found = across_runs(few, ["one", "other"])
    assert found.n_neighbours == 1
    assert verdicts(found)["subspace"] == "skipped"
    assert verdicts(found)["fold_changes"] == "skipped"


def test_subspace_similarity_is_that_of_another_library():
    rng = np.random.default_rng(5)
    one = states()[:, :3]
    other = one @ rng.normal(size=(3, 4)) + 3 * rng.normal(size=(N_CELLS, 4))
    first, second = CCA(n_components=3, max_iter=10_000, tol=1e-12).fit_transform(one, other)
    expected = np.mean([np.corrcoef(first[:, i], second[:, i])[0, 1] for i in range(3)])
    assert subspace_similarity(one, other) == pytest.approx(expected, abs=1e-6)
    repeated = np.column_stack([one, one @ rng.normal(size=(3, 2)), np.ones(N_CELLS)])
    assert subspace_similarity(one, repeated) == pytest.approx(1)


def test_matched_correlation_is_the_best_of_all_matchings():
    from itertools import permutations

    one, other = states(0)[:, :4], states(0)[:, :4] @ ortho_group.rvs(4, random_state=0)
    correlation = np.abs(np.corrcoef(one.T, other.T)[:4, 4:])
    best = max(correlation[np.arange(4), list(p)].mean() for p in permutations(range(4)))
    assert matched_correlation(one, other) == pytest.approx(best)


def test_neighbours_are_counted():
    one, other = nearest(states(0), 7), nearest(states(0) + states(1), 7)
    expected = np.mean([len(set(a) & set(b)) / 7 for a, b in zip(one, other, strict=True)])
    assert 0.01 < neighbour_overlap(one, other) < 0.9
    assert neighbour_overlap(one, other) == pytest.approx(expected)
    assert not (one == np.arange(N_CELLS)[:, None]).any()


def test_clusters_are_the_planted_ones():
    rng = np.random.default_rng(6)
    label = rng.choice(3, size=N_CELLS, p=[0.6, 0.3, 0.1])
    loc = 20 * np.eye(3)[label] + rng.normal(size=(N_CELLS, 3))
    # Modularity may divide a type further, but never mixes two.
    clusters = leiden(nearest(loc, 30))
    assert all(len(np.unique(label[clusters == c])) == 1 for c in np.unique(clusters))
    assert adjusted_rand_score(label, clusters) > 0.3
    assert (np.diff(np.bincount(clusters)) <= 0).all()
    np.testing.assert_array_equal(clusters, leiden(nearest(loc, 30)))


def test_fold_changes():
    rng = np.random.default_rng(7)
    one = rng.normal(size=500).round(1)  # with ties
    other = one + rng.normal(size=500).round(1)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation(one, np.zeros(500)) == 0
    assert top_overlap(np.array([5.0, -4, 1, 0]), np.array([0, 4.0, 1, -5]), 2) == 0.5


def test_it_prints_and_is_written():
    found = compare(run(states()), run(states(1), change_seed=1))
    text = str(found)
    assert text.startswith(f"{Stability.title} {found.verdict}")
    assert all(name in text for name in verdicts(found))
    assert "audit.stability(model" in text
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["verdict"] == "fail"
    assert len(data["data"]["neighbours"]) == 1
    assert data["numbers"]["n_cells"] == N_CELLS


# -- models that are trained again -------------------------------------------------------------

KEYS = {
    "batch_key": "batch",
    "labels_key": "label",
    "categorical_covariate_keys": ["site"],
    "continuous_covariate_keys": ["age"],
}


@pytest.fixture
def make_model(make_adata):
    """Return a function that trains a tiny model of either package."""

    def make(model_cls=SCVI, epochs=3, adata=None, layer=None, **train):
        adata = make_adata(120) if adata is None else adata
        model_cls.setup_anndata(adata, layer=layer, **KEYS)
        model = model_cls(adata, n_hidden=16, n_latent=3, gene_likelihood="nb")
        model.train(epochs, accelerator="cpu", enable_progress_bar=False, **train)
        return model

    return make


def by_hand(model_cls, adata, seed, epochs=3):
    """Posterior means of the model that a user would train with another seed."""
    scvi.settings.seed = seed
    model_cls.setup_anndata(adata, **KEYS)
    model = model_cls(adata, n_hidden=16, n_latent=3, gene_likelihood="nb")
    model.train(epochs, accelerator="cpu", enable_progress_bar=False)
    return model


def fold_changes_by_hand(model, adata):
    """Between T and B cells, from the module's own output at the posterior means."""
    module, (tensors,) = model.module, model._make_data_loader(adata, batch_size=adata.n_obs)
    with torch.no_grad():
        inferred = module.inference(**module._get_inference_input(tensors))
        inferred["z"] = inferred["qz"].mean
        mean = module.generative(**module._get_generative_input(tensors, inferred))["px"].mean
    shares = (mean / mean.sum(dim=1, keepdim=True)).numpy()
    epsilon = 0.1 / np.median(adata.X.toarray().sum(axis=1))
    groups = ((adata.obs["label"] == name).to_numpy() for name in ("T", "B"))
    one, other = (np.log(shares[group].mean(axis=0) + epsilon) for group in groups)
    return one - other


@pytest.mark.parametrize("model_cls", [SCVI, scvi.model.SCVI])
def test_a_retraining_is_what_one_would_do_by_hand(make_model, make_adata, model_cls):
    model = make_model(model_cls)
    label = model.adata.obs["label"].astype(str).to_numpy()
    sample = Sample(np.arange(120), np.zeros(120, bool), "unknown", label, label)
    groups = tuple(np.flatnonzero(label == name) for name in ("T", "B"))
    recipe = Recipe.of(model, model.adata, sample, groups, training_of(model, {}), 0)
    # Pickled, as on its way to a process.
    found = retrained(pickle.loads(pickle.dumps(recipe)), 5)
    again = by_hand(model_cls, make_adata(120), 5)
    np.testing.assert_allclose(found.loc, again.get_latent_representation(), atol=1e-5)
    expected = fold_changes_by_hand(again, again.adata)
    np.testing.assert_allclose(found.log_fold_change, expected, atol=1e-5)
    assert np.abs(found.loc - model.get_latent_representation()).max() > 1e-2


@pytest.mark.slow
def test_number_of_processes_and_the_caller(make_model):
    model = make_model()
    adata, weights = (
        model.adata.copy(),
        {k: v.clone() for k, v in model.module.state_dict().items()},
    )
    obs, uns = model.adata.obs.copy(), dict(model.adata.uns)
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (stability(model, seeds=[1, 2], n_jobs=n) for n in (1, 2))
    assert one.to_dict() == two.to_dict()
    assert one.runs == ("model", "seed 1", "seed 2")
    assert set(one.groups) == {"T", "B"}
    assert one.n_cells == 120
    # Runs are different trainings, not copies.
    assert (one.raw_axes < 0.9999).all()
    np.testing.assert_array_equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert model.adata.obs.equals(obs)
    assert model.adata.uns == uns
    assert (model.adata.X != adata.X).nnz == 0
    for name, weight in model.module.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert model.module.training is False


def looked_at(model):
    """A retraining in this process, of all cells."""
    nobody, label = np.zeros(120, dtype=bool), np.full(120, "")
    sample = Sample(np.arange(120), nobody, "unknown", label, label)
    recipe = Recipe.of(model, model.adata, sample, (), training_of(model, {}), 0)
    return retrained(pickle.loads(pickle.dumps(recipe)), 5)


@pytest.mark.parametrize("kind", ["backed", "layer", "dense"])
def test_cells_of_all_kinds(make_model, make_adata, tmp_path, kind):
    adata, layer = make_adata(120), None
    if kind == "backed":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        adata.obs["age"] = 0.0  # not what the file says
    elif kind == "layer":
        adata.layers["counts"], adata.X, layer = adata.X, None, "counts"
    else:
        adata.X = adata.X.toarray()
    other = make_adata(120)
    other.obs["age"] = adata.obs["age"]
    found = looked_at(make_model(adata=adata, layer=layer))
    np.testing.assert_allclose(found.loc, looked_at(make_model(adata=other)).loc, atol=1e-5)


def test_a_model_of_scvi_tools(make_model):
    found = stability(make_model(scvi.model.SCVI), n_seeds=2)
    assert found.runs == ("model", "seed 1001")
    assert found.neighbours.shape == (1,)
    assert 0 < found.neighbours[0] < 1


@pytest.mark.slow
def test_a_retraining_that_fails_names_its_seed(make_model):
    model = make_model()
    with pytest.raises(TrainingError, match=r"seed 7 failed: DataError: `preset` is 'none'"):
        stability(model, seeds=[7], train_kwargs={"preset": "none"})


def test_what_cannot_be_done(make_model, make_adata):
    model = make_model(epochs=1)
    with pytest.raises(DataError, match="`n_seeds` is 1"):
        stability(model, n_seeds=1)
    with pytest.raises(DataError, match="`seeds` is empty"):
        stability(model, seeds=[])
    with pytest.raises(DataError, match="`seeds` has 4 more than once"):
        stability(model, seeds=[3, 4, 4])
    with pytest.raises(DataError, match="9 cells to compare"):
        stability(model, max_cells=9)
    with pytest.raises(MissingKeyError, match="`labels_key` is 'type'"):
        stability(model, labels_key="type")
    with pytest.raises(ModelTypeError, match="`model` is a dict"):
        stability({})
    adata = make_adata()
    SCVI.setup_anndata(adata)
    with pytest.raises(DataError, match="no history"):
        stability(SCVI(adata))


def test_the_training_is_as_long_as_the_first(make_model):
    for preset in ("lucid", "scvi"):
        model = make_model(epochs=4, preset=preset)
        assert training_of(model, {})["preset"] == preset == preset_of(model.history)
        assert training_of(model, {})["max_epochs"] == 4
    theirs = make_model(scvi.model.SCVI, epochs=2)
    assert training_of(theirs, {"batch_size": 64}) == {
        "accelerator": "cpu",
        "batch_size": 64,
        "enable_progress_bar": False,
        "max_epochs": 2,
    }
