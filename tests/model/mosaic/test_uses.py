"""What stands above a model, on one of several modalities: it works, or says what to do."""

import mudata
import numpy as np
import pandas as pd
import pytest
from tests.model.mosaic.cells import as_mudata, simulated

import lucidvi
from lucidvi import simulate
from lucidvi.atlas import Reference
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model import MOSAICVI, Cells


@pytest.fixture(scope="module")
def labelled(model, mosaic):
    """The model, whose cells have a label: the sign of their first factor."""
    _, z = mosaic
    model.adata.obs["side"] = np.where(z[:, 0] > 0, "up", "down")
    model.adata.obs["condition"] = np.where(z[:, 1] > 0, "one", "two")
    return model


def having(model, modality):
    return (model.adata.obs[f"lucidvi_panel_{modality}"] >= 0).to_numpy()


def of_truth(model, modality):
    """Log2 fold changes of the true means between the two sides, of all cells."""
    parts, _ = simulated()
    mean = parts[modality].to_df("mean").loc[model.adata.obs_names]
    if modality != "prot":
        mean = mean.div(mean.sum(axis=1), axis=0)
    up = (model.adata.obs["side"] == "up").to_numpy()
    return np.log2(mean[up].mean() / mean[~up].mean())


# -- comparisons and draws, of each modality ----------------------------------------------------


@pytest.mark.parametrize("modality", ["rna", "prot", "atac"])
def test_markers_of_a_modality_are_found(labelled, modality):
    table = labelled.differential_expression(
        groupby="side", group1="up", mode="change", modality=modality, seed=0, silent=True,
        n_samples_overall=1500,
    )  # fmt: skip
    truth = of_truth(labelled, modality).loc[table.index]
    assert np.corrcoef(truth, table["lfc_mean"])[0, 1] > 0.9
    found = table["is_de_fdr_0.05"]
    assert found.sum() >= 3
    assert (np.sign(truth[found]) == np.sign(table["lfc_mean"][found])).all()
    assert truth[found].abs().min() > truth.abs().median()
    # What was counted is that of the cells that have it.
    has = having(labelled, modality)
    counts = labelled.adata.X if modality == "rna" else labelled.adata.obsm[modality]
    up = (labelled.adata.obs["side"] == "up").to_numpy() & has
    names = labelled.get_feature_names(modality)
    mean = np.asarray(counts[up].mean(axis=0)).ravel()
    np.testing.assert_allclose(table.loc[names, "raw_mean1"], mean, rtol=1e-5)


@pytest.mark.parametrize("modality", ["rna", "prot", "atac"])
def test_halves_of_one_group_do_not_differ(labelled, modality):
    up = np.flatnonzero(labelled.adata.obs["side"] == "up")
    first, second = np.array_split(np.random.default_rng(1).permutation(up), 2)
    table = labelled.differential_expression(
        idx1=first, idx2=second, mode="change", modality=modality, seed=0, silent=True,
        n_samples_overall=1500,
    )  # fmt: skip
    assert not table["is_de_fdr_0.05"].any()


def test_cells_without_a_modality_are_compared_by_their_states(labelled):
    lacking = ~having(labelled, "prot")
    up = (labelled.adata.obs["side"] == "up").to_numpy()
    table = labelled.differential_expression(
        idx1=lacking & up, idx2=lacking & ~up, modality="prot", mode="change", seed=0,
        silent=True, n_samples_overall=1500,
    )  # fmt: skip
    assert np.corrcoef(of_truth(labelled, "prot").loc[table.index], table["lfc_mean"])[0, 1] > 0.8
    assert table["raw_mean1"].isna().all()


def test_the_main_modality_is_compared_by_default(labelled):
    arguments = {"groupby": "side", "seed": 0, "silent": True, "n_samples_overall": 200}
    default = labelled.differential_expression(**arguments)
    assert default.equals(labelled.differential_expression(**arguments, modality="rna"))
    with pytest.raises(DataError, match="'prot'"):
        labelled.differential_expression(**arguments, modality="proteins")
    with pytest.raises(ModelTypeError, match="`change_fn`"):
        labelled.differential_expression(**arguments, mode="change", change_fn=lambda a, b: a - b)


def test_draws_of_a_modality_have_its_means(labelled):
    lacking = np.flatnonzero(~having(labelled, "rna"))[:40]
    draws = labelled.posterior_predictive_sample(modality="rna", indices=lacking, n_samples=200)
    assert draws.shape == (40, 60, 200)
    imputed = labelled.impute("rna", indices=lacking, intervals=None).mean.to_numpy()
    means = draws.todense().mean(axis=2)
    # Of a typical cell's exposure, which those without counts have none of.
    np.testing.assert_allclose(means.sum(axis=1), imputed.sum(axis=1), rtol=0.05)
    assert np.corrcoef(means.ravel(), imputed.ravel())[0, 1] > 0.98
    chosen = labelled.posterior_predictive_sample(
        modality="prot", indices=[0, 1], gene_list=["prot3"], posterior="refined"
    )
    assert chosen.shape == (2, 1)


# -- experiments in silico ----------------------------------------------------------------------


def test_experiments_ask_for_cells_with_the_counts(labelled):
    has = having(labelled, "rna")
    for experiment in (
        lambda **cells: simulate.resequence(labelled, depth_factor=0.5, **cells),
        lambda **cells: simulate.switch_covariates(labelled, batch="a", **cells),
        lambda **cells: simulate.perturb(labelled, genes={"rna3": 0}, n_samples=2, **cells),
    ):
        with pytest.raises(DataError, match="100 of the 400 cells lack 'rna'") as raised:
            experiment()
        assert 'indices=model.adata.obs["lucidvi_panel_rna"] >= 0' in str(raised.value)
        out = experiment(indices=labelled.adata.obs["lucidvi_panel_rna"] >= 0)
        assert out.n_obs == has.sum()
        assert not [name for name in out.obs if name.startswith("lucidvi_panel")]


def test_new_cells_follow_cells_with_counts(labelled):
    out = simulate.sample_cells(labelled, 80, posterior="encoder")
    assert out.obs["lucidvi_exposure"].min() > 50
    total = np.asarray(out.X.sum(axis=1)).ravel()
    np.testing.assert_allclose(total.mean(), out.obs["lucidvi_exposure"].mean(), rtol=0.1)


def test_a_condition_is_predicted_from_cells_with_counts(labelled):
    out = simulate.predict_condition(
        labelled, condition_key="condition", control="one", target="two", labels_key="side",
        label="up",
    )  # fmt: skip
    names = labelled.adata.obs_names[having(labelled, "rna")]
    assert set(out.obs["lucidvi_origin"]) <= set(names)


# -- audit --------------------------------------------------------------------------------------


def test_audit_judges_counts_of_cells_that_have_them(labelled):
    report = lucidvi.audit.run(labelled, checks=["fit", "identifiability"])
    assert "canonicalize" not in str(report)  # which the model has no rotation for
    names = report["fit"].cells.index
    has = labelled.adata.obs_names[having(labelled, "rna")]
    assert set(names) <= set(has)
    assert report["fit"].cells["library_observed"].min() > 0


# -- references ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(labelled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosaic") / "reference"
    Reference.from_model(labelled, labels_key="side").save(folder)
    return Reference.load(folder)


def query_of(modality, n_features, batch):
    parts, z = simulated()
    part = parts[modality][:, :n_features].copy()
    part.obs["batch"] = batch
    return mudata.MuData({modality: part}), np.where(z[:, 0] > 0, "up", "down")


@pytest.mark.parametrize(
    ("modality", "n_features", "batch"),
    [("rna", 60, "a"), ("rna", 30, "new"), ("prot", 30, "new")],
)
def test_queries_of_one_modality_are_mapped(reference, modality, n_features, batch):
    query, truth = query_of(modality, n_features, batch)
    out = reference.map(query)
    assert (out.obs["lucidvi_label"] == truth).mean() > 0.85
    assert (out.obs["lucidvi_call"] == "unknown").mean() < 0.2
    assert list(out.uns["lucidvi"]["modalities"]) == [modality]
    weights = reference.data.modality_weights
    share = out.uns["lucidvi"]["share_of_information"]
    if n_features == {"rna": 60, "prot": 30}[modality]:
        np.testing.assert_allclose(share, weights[modality])
    else:
        assert 0 < share < weights[modality]


def test_queries_of_several_modalities_are_mapped(reference, mosaic):
    mdata, z = mosaic
    out = reference.map(mdata)
    assert list(out.obs_names) == list(mdata.obs_names)
    assert (out.obs["lucidvi_label"] == np.where(z[:, 0] > 0, "up", "down")).mean() > 0.88
    assert list(out.uns["lucidvi"]["modalities"]) == ["rna", "prot", "atac"]
    for argument in ("layer", "gene_key"):
        with pytest.raises(DataError, match="several modalities"):
            reference.map(mdata, **{argument: "counts"})
    with pytest.raises(DataError, match="MuData"):
        reference.annotate(mdata)


# -- stored posteriors, files, axes -------------------------------------------------------------


def test_stored_posteriors_are_answered_by(labelled, mosaic, tmp_path):
    refined = labelled.refine_posterior()
    labelled.save(str(tmp_path / "model"))
    bound = MOSAICVI.load(str(tmp_path / "model"), adata=mosaic[0])
    bound.adata = refined.to_adata(labelled.adata)
    np.testing.assert_allclose(bound.get_latent_representation(), refined.loc, atol=1e-5)
    bound.adata.obsm[refined.slots[1]] = np.full_like(refined.scale, 1e-12)
    first, again = (bound.get_normalized("prot", return_numpy=True) for _ in range(2))
    np.testing.assert_allclose(first, again, rtol=1e-3)
    others, again = (
        bound.get_normalized("prot", from_modalities="rna", indices=having(bound, "rna"))
        for _ in range(2)
    )
    assert not np.allclose(others, again, rtol=1e-2)
    # Counts beside them are still there, and none are made up where they are not.
    assert bound.posterior_predictive_sample(modality="prot", indices=[0]).shape == (1, 30)


def test_a_model_without_cells_is_saved_again(labelled, mosaic, tmp_path):
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    labelled.save(first, save_anndata=True)
    MOSAICVI.load(first, adata=False).save(second)
    again = MOSAICVI.load(second, adata=mosaic[0])
    alone = MOSAICVI.load(first)
    states = labelled.get_latent_representation()
    np.testing.assert_allclose(again.get_latent_representation(), states, atol=1e-5)
    np.testing.assert_allclose(alone.get_latent_representation(), states, atol=1e-5)


def test_axes_that_cannot_be_turned(labelled):
    with pytest.raises(ModelTypeError, match="keeps no rotation"):
        labelled.canonicalize()


def test_which_cells_have_a_modality(labelled):
    cells = Cells.of(labelled, None, [0, 399, 399])
    assert cells.have().tolist() == having(labelled, "rna")[[0, 399, 399]].tolist()
    assert cells.have("prot").tolist() == having(labelled, "prot")[[0, 399, 399]].tolist()
    assert cells.have("atac").all()


def test_a_query_model_of_one_modality_decodes_the_others(labelled):
    query, _ = query_of("rna", 60, "new")
    tuned = MOSAICVI.load_query_data(query, labelled, unfrozen=True)
    tuned.train(max_epochs=1, enable_progress_bar=False)
    assert tuned.get_normalized("prot").shape == (400, 30)
    assert not tuned.module.measured[1, -1]


def test_a_reference_with_a_batch_that_lacks_the_main_modality():
    parts, z = simulated(160)
    is_a = (parts["rna"].obs["batch"] == "a").to_numpy()
    mdata = as_mudata({"rna": parts["rna"][is_a].copy(), "prot": parts["prot"]})
    first = z[parts["prot"].obs_names.get_indexer(mdata.obs_names), 0]
    mdata.obs["side"] = np.where(first > 0, "up", "down")
    MOSAICVI.setup_mudata(mdata, {"rna": "rna", "prot": "protein"}, batch_key="batch")
    model = MOSAICVI(mdata, n_latent=3, n_hidden=16)
    model.train(max_epochs=2, train_size=1.0, enable_progress_bar=False)
    reference = Reference.from_model(model, labels_key="side")
    assert {setting.new_batch for setting in reference.calibration.settings} == {False, True}


def test_missing_values_of_a_column_have_not_changed(make_adata):
    """A column that no model asked for, with gaps, is the same when a model is made."""
    adata = make_adata(n_cells=60)
    adata.obs["plate"] = pd.Categorical(
        np.array(["x", "y", None], dtype=object)[np.arange(60) % 3]
    )
    adata.obs["note"] = np.array(["a", None], dtype=object)[np.arange(60) % 2]
    adata.obsm["prot"] = pd.DataFrame(np.ones((60, 2)), adata.obs_names, ["p", "q"])
    MOSAICVI.setup_anndata(adata, {"rna": "rna", "prot": "protein"}, batch_key="batch")
    assert MOSAICVI(adata, n_latent=2).adata.n_obs == 60
    adata.obs.loc[adata.obs_names[0], "note"] = None
    with pytest.raises(DataError, match="columns have changed"):
        MOSAICVI(adata, n_latent=2)
