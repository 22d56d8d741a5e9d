"""New cells: states, covariates, exposures and counts."""

import numpy as np
import pytest
import torch
from scipy import stats

from lucidvi.errors import DataError, MissingKeyError, ModelTypeError
from lucidvi.model import SCVI
from lucidvi.simulate import sample_cells


def totals(adata):
    return np.asarray(adata.X.sum(axis=1)).ravel()


@pytest.mark.parametrize("cells", [{"source": "prior"}, {}, {"indices": [2, 5, 7]}])
def test_counts_are_the_decoders(model, scores, check_standard, cells):
    out = sample_cells(model, 2000, **cells)
    assert out.X.format == "csr"
    assert out.X.dtype == np.float32
    assert (out.X.data % 1 == 0).all()
    check_standard(scores(model, out, out.obs["lucidvi_exposure"]))


def test_states_of_the_prior(model):
    z = sample_cells(model, 4000, source="prior").obsm["X_lucidvi"]
    for axis in z.T:
        assert stats.kstest(axis, "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(z.T) - np.eye(3)).max() < 0.07


def test_states_of_cells_are_from_their_posteriors(model):
    out = sample_cells(model, 3000, indices=["cell4", "cell9"], posterior="encoder")
    mean, variance = model.get_latent_representation(indices=[4, 9], return_dist=True)
    for i, name in enumerate(["cell4", "cell9"]):
        z = out.obsm["X_lucidvi"][out.obs["lucidvi_origin"] == name]
        assert len(z) == 1500
        standard = (z - mean[i]) / np.sqrt(variance[i])
        for axis in standard.T:
            assert stats.kstest(axis, "norm").pvalue > 1e-3


def test_a_cell_follows_one_of_the_data(model):
    out = sample_cells(model, 500)
    origin = model.adata[out.obs["lucidvi_origin"]]
    for column in ("batch", "site", "age"):
        assert (out.obs[column].to_numpy() == origin.obs[column].to_numpy()).all()
    np.testing.assert_allclose(out.obs["lucidvi_exposure"], totals(origin), rtol=1e-5)
    assert out.obs["lucidvi_origin"].nunique() > 120  # of 150, drawn with replacement


def test_batches_and_covariates_say_which_cells_are_followed(model):
    out = sample_cells(model, 90, batch={"0": 2, "2": 1}, covariates={"site": "b", "age": 0.5})
    assert out.obs["batch"].value_counts()[["0", "1", "2"]].tolist() == [60, 0, 30]
    assert (out.obs["site"] == "b").all()
    assert (out.obs["age"] == 0.5).all()
    origin = model.adata.obs.loc[out.obs["lucidvi_origin"]]
    assert (origin["batch"].to_numpy() == out.obs["batch"].astype(str).to_numpy()).all()
    assert (origin["site"] == "b").all()


def test_chosen_cells_give_the_prior_covariates_and_exposures(model):
    """Positions, a slice, names or a mask, in one AnnData or another."""
    mask = np.arange(150) < 3
    for choice in ([0, 1, 2], slice(3), model.adata.obs_names[:3], mask):
        out = sample_cells(model, 30, source="prior", indices=choice)
        assert "lucidvi_origin" not in out.obs
        assert out.obs["age"].value_counts().tolist() == [10, 10, 10]
        assert set(out.obs["age"]) == set(model.adata.obs["age"][:3])
    some = model.adata[40:60].copy()
    both = sample_cells(model, 8, adata=some, indices=[0, -1])
    assert set(both.obs["lucidvi_origin"]) == {"cell40", "cell59"}


def test_given_cells_are_decoded_under_a_batch(model, scores, check_standard):
    given = model.adata[model.adata.obs["batch"] == "0"].copy()
    out = sample_cells(model, 1500, adata=given, batch="1")
    assert (out.obs["batch"] == "1").all()
    assert out.obs["lucidvi_origin"].isin(given.obs_names).all()
    check_standard(scores(model, out, out.obs["lucidvi_exposure"]))


def test_library_sizes_that_are_given(model):
    sizes = np.resize([50.0, 500.0], 400)
    out = sample_cells(model, 400, library_size=sizes)
    np.testing.assert_allclose(out.obs["lucidvi_exposure"], sizes, rtol=1e-5)
    for size in (50, 500):
        assert totals(out)[sizes == size].mean() == pytest.approx(size, rel=0.08)


def test_size_factors_and_inflation(make_known):
    mu, theta, zi = np.array([1.0, 6.0]), np.array([2.0, 4.0]), np.array([0.2, 0.4])
    model = make_known(mu, theta, zi, "zinb", n_cells=100, factor=np.resize([0.5, 2.0], 100))
    out = sample_cells(model, 6000, source="prior")
    factor = out.obs["lucidvi_exposure"].to_numpy()
    assert set(np.round(factor, 4)) == {0.5, 2.0}
    for f in (0.5, 2.0):
        x = out.X.toarray()[np.isclose(factor, f), :2]
        nb = stats.nbinom(theta, theta / (theta + f * mu))
        zero = zi + (1 - zi) * nb.pmf(0)
        error = np.sqrt(zero * (1 - zero) / len(x))
        assert (np.abs((x == 0).mean(axis=0) - zero) < 4 * error).all()
        assert (
            np.abs(x.mean(axis=0) - (1 - zi) * nb.mean()) < 4 * x.std(axis=0) / len(x) ** 0.5
        ).all()
    given = sample_cells(model, 3000, library_size=3.0).X.toarray()[:, :2]
    want = 3 * mu * (1 - zi)
    assert (np.abs(given.mean(axis=0) - want) < 4 * given.std(axis=0) / 3000**0.5).all()


def test_a_latent_library(make_adata):
    adata = make_adata(120)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2, use_observed_lib_size=False)
    model.is_trained_ = True
    log = np.log(sample_cells(model, 3000, source="prior", batch="1").obs["lucidvi_exposure"])
    mean = model.module.library_log_means[0, 1].item()
    scale = model.module.library_log_vars[0, 1].item() ** 0.5
    assert stats.kstest((log - mean) / scale, "norm").pvalue > 1e-3
    given = sample_cells(model, 10, indices=[0], library_size=33.0)
    np.testing.assert_allclose(given.obs["lucidvi_exposure"], 33, rtol=1e-5)


def test_a_seed_decides_and_nothing_global_changes(model):
    state = torch.get_rng_state()
    first, same, other = (sample_cells(model, 50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert (first.X != same.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    assert first.obs.equals(same.obs)


def test_a_record_that_a_file_holds(model, tmp_path):
    out = sample_cells(model, 5, adata=model.adata[:3].copy(), batch={"0": 1}, seed=4)
    out.write_h5ad(tmp_path / "cells.h5ad")
    request = out.uns["lucidvi_simulation"]["request"]
    assert set(request) == {
        *(
            "n_cells",
            "source",
            "adata",
            "indices",
            "batch",
            "covariates",
            "library_size",
            "posterior",
            "seed",
        )
    }
    assert request["seed"] == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_cells": 0}, DataError, "`n_cells` is 0"),
        ({"n_cells": 2.5}, DataError, "`n_cells` is 2.5"),
        ({"source": "aggregate"}, DataError, "'posterior', 'prior'"),
        ({"batch": "lane9"}, DataError, "It knows '0', '1', '2'"),
        ({"batch": {"0": -1}}, DataError, "shares"),
        ({"batch": ["0", "1"]}, DataError, "10 cells"),
        ({"covariates": {"donor": "a"}}, MissingKeyError, "It has 'site', 'age'"),
        ({"covariates": {"batch": "0"}}, MissingKeyError, "say `batch=`"),
        ({"covariates": {"site": "z"}}, DataError, "It knows 'a', 'b'"),
        ({"covariates": {"age": "old"}}, DataError, "continuous"),
        ({"covariates": {"age": np.nan}}, DataError, "continuous"),
        ({"library_size": 0}, DataError, "`library_size` is 0"),
        ({"library_size": np.full(3, 5.0)}, DataError, "10 cells"),
        ({"seed": -1}, DataError, "`seed` is -1"),
        ({"posterior": "prior"}, DataError, "'refined'"),
    ],
)
def test_bad_requests(model, arguments, error, message):
    with pytest.raises(error, match=message):
        sample_cells(model, **({"n_cells": 10} | arguments))


def test_values_that_no_cell_has(make_adata):
    adata = make_adata(60)
    adata.obs["site"] = np.where(adata.obs["batch"] == "0", "a", "b")
    SCVI.setup_anndata(adata, batch_key="batch", categorical_covariate_keys=["site"])
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.is_trained_ = True
    with pytest.raises(DataError, match="No cell of the data has"):
        sample_cells(model, 10, batch="0", covariates={"site": "b"})
    assert sample_cells(model, 10, indices=[0], batch="0", covariates={"site": "b"}).n_obs == 10


def test_models_that_cannot_be_used(make_adata, tmp_path):
    adata = make_adata(60)
    with pytest.raises(ModelTypeError, match="AnnData"):
        sample_cells(adata)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    with pytest.raises(DataError, match="not been trained"):
        sample_cells(model)
    model.is_trained_ = True
    with pytest.raises(DataError, match="without batches"):
        sample_cells(model, batch="0")
    model.save(tmp_path / "model")
    loaded = SCVI.load(tmp_path / "model", adata=False)
    with pytest.raises(DataError, match="no AnnData"):
        sample_cells(loaded)
    normal = SCVI(adata, gene_likelihood="normal")
    normal.is_trained_ = True
    with pytest.raises(ModelTypeError, match="normal"):
        sample_cells(normal)
