"""One latent state from several modalities, and every modality of every cell from it."""

import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
from tests.model.mosaic.cells import KINDS, as_mudata, mudata_as_it_comes, simulated

from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model import MOSAICVI, Cells


def explained(z, states):
    """Share of the variance of known factors that is linear in latent states."""
    design = np.column_stack([states, np.ones(len(states))])
    fitted = design @ np.linalg.lstsq(design, z, rcond=None)[0]
    return 1 - (z - fitted).var(0) / z.var(0)


def cells_with(model, *modalities):
    masks = [model.adata.obs[f"lucidvi_panel_{key}"] >= 0 for key in modalities]
    return np.flatnonzero(np.logical_and.reduce(masks))


def test_states_are_those_of_the_cells_by_name(model, mosaic):
    mdata, z = mosaic
    states = model.get_latent_representation()
    assert list(model.adata.obs_names) == list(mdata.obs_names)
    assert explained(z, states).min() > 0.85


def test_every_modality_alone_says_most_of_what_all_say(model, mosaic):
    _, z = mosaic
    every = cells_with(model, *KINDS)
    together = explained(z[every], model.get_latent_representation(indices=every))
    for key in KINDS:
        alone = model.get_latent_representation(indices=every, modalities=[key])
        assert (explained(z[every], alone) > 0.85 * together).all(), key


def test_posteriors_of_less_are_wider(model):
    every = cells_with(model, *KINDS)
    _, full = model.get_latent_representation(indices=every, return_dist=True)
    _, alone = model.get_latent_representation(indices=every, modalities="prot", return_dist=True)
    assert (full < alone).all()


def test_imputed_proteins_of_cells_that_were_not_seen(model):
    """Counts that were withheld: they lie in their intervals, and follow the means."""
    parts, _ = simulated()
    truth = parts["prot"].to_df()
    unseen = cells_with(model, "rna")
    unseen = unseen[model.adata.obs["lucidvi_panel_prot"].to_numpy()[unseen] < 0]
    imputed = model.impute("prot", indices=unseen)
    assert imputed.from_modalities == ("rna", "atac")
    names = model.adata.obs_names[unseen]
    assert list(imputed.mean.index) == list(names)
    truth = truth.loc[names]
    coverage = imputed.coverage(truth)
    assert 0.85 < coverage.mean() < 0.97
    best = parts["prot"].to_df("mean").loc[names]
    r, r_best = (
        np.mean([np.corrcoef(np.log1p(of[f]), np.log1p(truth[f]))[0, 1] for f in truth])
        for of in (imputed.mean, best)
    )
    assert r > 0.85 * r_best
    again = model.impute("prot", indices=unseen[:5], features=["prot3"], intervals=None)
    assert again.lower is None
    assert again.mean.shape == (5, 1)
    np.testing.assert_allclose(again.mean, imputed.mean.iloc[:5][["prot3"]], rtol=0.3)


def test_what_a_cell_has_is_not_looked_at_unless_it_is_named(model):
    every = cells_with(model, "rna", "prot")[:30]
    changed = model.adata[every].copy()
    counts = changed.obsm["prot"].copy()
    counts.data[:] = 7
    changed.obsm["prot"] = counts
    same = [model.impute("prot", ["rna"], a, intervals=None, n_samples=4).mean
            for a in (model.adata[every].copy(), changed)]  # fmt: skip
    pd.testing.assert_frame_equal(*same)
    other = [model.impute("prot", ["rna", "prot"], a, intervals=None, n_samples=4).mean
             for a in (model.adata[every].copy(), changed)]  # fmt: skip
    assert not np.allclose(*other)


@pytest.mark.parametrize("posterior", ["encoder", "refined"])
def test_depth_of_what_is_imputed_changes_no_state(model, posterior):
    """Also where the states are refined by counts of the modality itself."""
    every = cells_with(model, "rna")[:10]
    one, other = (
        model.impute(
            "rna", "rna", indices=every, library_size=size, intervals=None, n_samples=5,
            posterior=posterior,
        ).mean
        for size in (100, 1000)
    )  # fmt: skip
    np.testing.assert_allclose(other, 10 * one, rtol=1e-4)


def test_normalized_values(model):
    rna = model.get_normalized("rna", library_size=100)
    np.testing.assert_allclose(rna.sum(axis=1), 100, rtol=1e-4)
    assert list(rna.columns) == list(model.adata.var_names)
    proteins = model.get_normalized("prot", n_samples=5)
    with_background = model.get_normalized("prot", n_samples=5, include_background=True)
    assert proteins.mean().lt(with_background.mean()).all()
    share = model.get_foreground_probability("prot", features=["prot1", "prot0"])
    assert list(share.columns) == ["prot1", "prot0"]
    assert share.to_numpy().min() >= 0
    assert share.to_numpy().max() <= 1
    draws = model.get_normalized("atac", n_samples=3, return_mean=False, indices=[0, 1])
    assert draws.shape == (3, 2, 80)
    with pytest.raises(ModelTypeError, match="no background"):
        model.get_foreground_probability("rna")


def test_conditional_likelihood_is_the_difference_of_two(model):
    every = cells_with(model, *KINDS)[:20]
    alone = model.get_conditional_ll("prot", indices=every, n_mc_samples=400)
    given = model.get_conditional_ll("prot", ["rna"], indices=every, n_mc_samples=400)
    assert given["log_px"].mean() > alone["log_px"].mean()
    lacking = np.setdiff1d(np.arange(model.adata.n_obs), cells_with(model, "prot"))[:3]
    assert model.get_conditional_ll("prot", indices=lacking, n_mc_samples=5)["log_px"].isna().all()


def test_refinement_and_gap_of_cells_with_anything(model):
    gap = model.get_inference_gap(indices=np.arange(40), groupby=None)
    assert gap["trusted"].mean() > 0.9
    assert (gap["elbo_refined"] >= gap["elbo"] - 1e-3).all()
    assert (gap["log_px"] > gap["elbo_refined"] - 3 * gap["standard_error"] - 0.05).mean() > 0.9


def test_saved_and_loaded_with_the_cells_as_they_are(model, mosaic, tmp_path):
    mdata, _ = mosaic
    states = model.get_latent_representation()
    model.save(str(tmp_path / "model"))
    loaded = MOSAICVI.load(str(tmp_path / "model"), adata=mdata)
    np.testing.assert_allclose(loaded.get_latent_representation(), states, atol=1e-5)
    bare = MOSAICVI.load(str(tmp_path / "model"), adata=False)
    np.testing.assert_allclose(bare.get_latent_representation(mdata), states, atol=1e-5)
    assert list(bare.get_feature_names("prot")) == list(model.get_feature_names("prot"))


def test_cells_of_one_modality_with_fewer_features(model):
    parts, _ = simulated()
    alone = as_mudata({"rna": parts["rna"][:50, ::-2].copy()})
    states = model.get_latent_representation(alone)
    whole = model.get_latent_representation(as_mudata({"rna": parts["rna"][:50].copy()}))
    assert states.shape == (50, 4)
    assert np.corrcoef(states[:, 0], whole[:, 0])[0, 1] > 0.5
    imputed = model.impute("prot", "rna", alone, intervals=None, n_samples=5)
    assert imputed.mean.shape == (50, 30)


def test_features_that_a_panel_lacks_stay_unmeasured_whatever_else_is_left_out(model):
    parts, _ = simulated()
    query = as_mudata({"prot": parts["prot"][:20, :20].copy(), "rna": parts["rna"][:20].copy()})
    cells = Cells.of(model, model._read_as_mine(query))
    some = np.arange(30) % 2 == 0
    _, minibatch = next(cells.with_features({"prot": some}).minibatches())
    measured = minibatch["prot_features"].numpy()
    np.testing.assert_array_equal(measured, np.tile(some & (np.arange(30) < 20), (20, 1)))


def test_an_anndata_with_modalities_in_obsm():
    parts, _ = simulated(120)
    adata = parts["rna"].copy()
    proteins = parts["prot"].to_df()
    proteins.iloc[:60] = -1
    adata.obsm["proteins"] = proteins
    kinds = {"rna": "rna", "prot": {"kind": "protein", "obsm": "proteins"}}
    MOSAICVI.setup_anndata(adata, kinds, batch_key="batch")
    model = MOSAICVI(adata, n_latent=3)
    model.train(max_epochs=2, enable_progress_bar=False)
    assert len(cells_with(model, "prot")) == 60
    assert model.get_normalized("prot").shape == (120, 30)


def test_likelihoods_of_each_kind():
    parts, _ = simulated(120)
    kinds = {
        "rna": {"kind": "rna", "likelihood": "zinb"},
        "prot": {"kind": "protein", "likelihood": "nb", "weight": 2.0},
        "atac": {"kind": "accessibility", "likelihood": "bernoulli"},
    }
    mdata = as_mudata(parts)
    MOSAICVI.setup_mudata(mdata, kinds, batch_key="batch")
    model = MOSAICVI(mdata, n_latent=3, prior="mixture", encode_covariates=True)
    model.train(max_epochs=3, enable_progress_bar=False)
    assert np.isfinite(float(model.get_elbo()))
    families = [m.likelihood.family for m in model.modalities.values()]
    assert families == ["zinb", "nb", "bernoulli"]
    assert model.modalities["prot"].weight == 2.0
    assert model.impute("atac", intervals=0.5, n_samples=20).upper.to_numpy().max() <= 1


def test_a_view_is_set_up_in_the_order_that_it_has_then():
    """Writing to it makes it actual, whereby mudata 0.3 changes the order of its cells."""
    parts, _ = simulated(60)
    whole = as_mudata({"rna": parts["rna"][:40].copy(), "prot": parts["prot"][20:].copy()})
    some = whole[[50, 12, 35, 2, 44]]
    with mudata_as_it_comes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the view, and of the next version of mudata
        MOSAICVI.setup_mudata(some, {"rna": "rna", "prot": "protein"})
        cells = MOSAICVI(some).adata
    assert list(cells.obs_names) == list(some.obs_names)
    own = whole["prot"][["cell50"]].X.toarray()[0]
    np.testing.assert_array_equal(cells[["cell50"]].obsm["prot"].toarray()[0], own)


def test_what_cannot_be(model, mosaic):
    mdata, _ = mosaic
    with pytest.raises(DataError, match=r"'protein'.*'prot'"):
        model.impute("protein")
    with pytest.raises(DataError, match="none of 'prot'"):
        model.impute("rna", from_modalities=["prot"])
    with pytest.raises(DataError, match="`intervals`"):
        model.impute("prot", ["atac"], intervals=90)
    with pytest.raises(DataError, match="no exposure"):
        model.impute("prot", ["atac"], library_size=100)
    other = mdata.copy()
    other.mod["prot"].X = other.mod["prot"].X * 2
    with pytest.raises(DataError, match="not those that were set up"):
        MOSAICVI(other)
    with pytest.raises(DataError, match="was not set up"):
        MOSAICVI(anndata.AnnData(np.ones((3, 2), np.float32)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_file_that_stays_on_disk_gives_what_memory_gives(tmp_path):
    parts, _ = simulated()
    states = []
    for backed in (False, "r"):
        path = tmp_path / f"cells_{backed}.h5mu"
        as_mudata({key: part[::5].copy() for key, part in parts.items()}).write(path)
        mdata = mudata.read_h5mu(path, backed=backed) if backed else mudata.read_h5mu(path)
        scvi.settings.seed = 0
        MOSAICVI.setup_mudata(mdata, KINDS)
        model = MOSAICVI(mdata, n_latent=3)
        model.train(2, enable_progress_bar=False)
        states.append(model.get_latent_representation())
        assert bool(mdata.isbacked) == bool(backed)
    np.testing.assert_array_equal(*states)
