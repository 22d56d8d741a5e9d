"""Cells that follow a field whose paths are known, and the counts that they have there."""

import anndata
import numpy as np
import pytest
import scvi
import torch
from tests.linear_field import straight

from lucidvi import simulate
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError
from lucidvi.model import SCVI, Cells

V = np.array([0.5, -0.2, 0.1])


@pytest.fixture(scope="module")
def cells(model):
    adata = model.adata.copy()
    adata.obs["day"] = np.arange(adata.n_obs) % 2
    return adata


def followed(model, until, **kwargs):
    return simulate.follow_cells(model, straight(V, times=(0.0, 4.0)), until, **kwargs)


def test_states_go_as_far_as_the_field_says(model, cells):
    out = followed(model, [1, 3], time_key="day", adata=cells, posterior="encoder")
    n = cells.n_obs
    assert out.shape == (2 * n, cells.n_vars)
    z = out.obsm["X_lucidvi"].reshape(2, n, 3)
    np.testing.assert_allclose(z[1] - z[0], np.broadcast_to(2 * V, (n, 3)), atol=1e-4)
    start = z[0] - (1 - cells.obs["day"].to_numpy())[:, None] * V
    mean, variance = model.get_latent_representation(return_dist=True)
    scores = (start - mean) / np.sqrt(variance)  # draws of the posteriors
    assert abs(scores.mean()) < 0.15
    assert 0.85 < scores.std() < 1.15


def test_rows_say_what_they_are(model, cells):
    out = followed(model, [1, 2], time_key="day", adata=cells, indices=[3, 5], n_trajectories=3)
    obs = out.obs
    assert obs["lucidvi_time"].tolist() == [1.0] * 6 + [2.0] * 6
    assert obs["lucidvi_trajectory"].tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert obs["lucidvi_origin"].tolist() == ["cell3", "cell5"] * 6
    assert obs.index[:3].tolist() == ["cell3@1#0", "cell5@1#0", "cell3@1#1"]
    own = cells[obs["lucidvi_origin"]]
    assert obs["batch"].astype(str).tolist() == own.obs["batch"].astype(str).tolist()
    np.testing.assert_allclose(obs["lucidvi_exposure"], np.ravel(own.X.sum(axis=1)), rtol=1e-5)
    assert out.uns["lucidvi_simulation"]["function"] == "follow_cells"
    assert (out.obs["lucidvi_log_mass"] == 0).all()


def test_counts_are_of_the_decoder_at_these_states(model, cells):
    """Of many draws of one cell, the mean is what the model decodes there."""
    out = followed(
        model,
        2,
        time_key="day",
        adata=cells,
        indices=[4],
        n_trajectories=3_000,
        posterior="encoder",
        seed=3,
    )
    z = torch.tensor(out.obsm["X_lucidvi"])
    means = []
    for rows, target in Cells.of(model, cells, np.repeat(4, len(z))).targets():
        with torch.no_grad():
            means.append(target.likelihood(z[rows]).mean)
    mean = torch.cat(means)
    n = len(mean)
    found, expected = np.ravel(out.X[:n].mean(axis=0)), mean.mean(dim=0).numpy()
    error = np.sqrt(np.asarray(out.X[:n].todense()).var(axis=0) / n)
    assert np.abs((found - expected) / error).max() < 4.5


def test_trajectories_differ_by_draw_and_by_member(model, cells):
    field = straight([V, -V])
    out = simulate.follow_cells(
        model,
        field,
        [0, 4],
        time_key="day",
        adata=cells,
        indices=cells.obs["day"] == 0,
        n_trajectories=4,
    )
    z = out.obsm["X_lucidvi"].reshape(2, 4, -1, 3)
    for k in range(4):
        way = 4 * V * (1 if k % 2 == 0 else -1)
        np.testing.assert_allclose(
            z[1, k] - z[0, k], np.broadcast_to(way, z[0, k].shape), atol=1e-3
        )
    assert not np.allclose(z[0, 0], z[0, 2])
    one = simulate.follow_cells(
        model, field, [0, 4], time_key="day", adata=cells, indices=cells.obs["day"] == 0
    )
    both = one.obsm["X_lucidvi"].reshape(2, -1, 3)
    np.testing.assert_allclose(both[1], both[0], atol=1e-4)  # the mean of the members stands


def test_mass_is_that_of_the_way(model, cells):
    field = straight([0.0, 0, 0], growth=[1.0, 0, 0])
    out = simulate.follow_cells(model, field, 3, time_key="day", adata=cells)
    rate, span = out.obsm["X_lucidvi"][:, 0], 3 - cells.obs["day"].to_numpy()
    np.testing.assert_allclose(out.obs["lucidvi_log_mass"], rate * span, atol=1e-4)


def test_back_in_time_and_without_time(model, cells):
    back = followed(model, -2, time_key="day", adata=cells)
    assert (back.obs["lucidvi_time"] == -2).all()
    stationary = straight(V, is_stationary=True)
    out = simulate.follow_cells(model, stationary, [0, 2], indices=slice(0, 4))
    z = out.obsm["X_lucidvi"].reshape(2, 4, 3)
    np.testing.assert_allclose(z[1] - z[0], np.broadcast_to(2 * V, (4, 3)), atol=1e-4)


def test_batch_covariates_and_depth_are_chosen(model, cells):
    rows = {"time_key": "day", "adata": cells, "indices": [0, 1, 2]}
    out = followed(model, [1, 2], batch=["0", "1", "2"], library_size=[50, 60, 70], **rows)
    assert out.obs["batch"].astype(str).tolist() == ["0", "1", "2"] * 2
    assert out.obs["lucidvi_exposure"].round(3).tolist() == [50, 60, 70] * 2
    out = followed(model, 1, covariates={"site": "b", "age": 0.5}, **rows)
    assert set(out.obs["site"]) == {"b"}
    assert set(out.obs["age"]) == {0.5}


def test_one_seed_one_result_and_nothing_else_changes(model, cells, tmp_path):
    field = straight(V)
    state = torch.random.get_rng_state()
    before = cells.obs.copy()
    first, again, other = (
        simulate.follow_cells(model, field, 2, time_key="day", adata=cells, seed=seed)
        for seed in (0, 0, 1)
    )
    assert (first.X != again.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    assert torch.equal(state, torch.random.get_rng_state())
    assert cells.obs[before.columns].equals(before)
    first.write_h5ad(tmp_path / "later.h5ad")
    read = anndata.read_h5ad(tmp_path / "later.h5ad")
    assert read.obs["lucidvi_time"].equals(first.obs["lucidvi_time"])


def test_what_is_refused(model, cells, make_adata):
    field = straight(V)
    with pytest.raises(DataError, match="`time_key` is not given"):
        simulate.follow_cells(model, field, 2)
    with pytest.raises(MissingKeyError, match=r"`time_key` is 'dya'.*\n.*day"):
        simulate.follow_cells(model, field, 2, adata=cells, time_key="dya")
    with pytest.raises(DataError, match=r"`until` is \[0, 2\].*begin between 0 and 1"):
        simulate.follow_cells(model, field, [0, 2], adata=cells, time_key="day")
    with pytest.raises(DataError, match=r"`until` is 'x'"):
        simulate.follow_cells(model, field, "x", adata=cells, time_key="day")
    with pytest.raises(DataError, match="2 dimensions, and the model 3"):
        simulate.follow_cells(model, straight([0.0, 1.0]), 2, adata=cells, time_key="day")
    with pytest.raises(DataError, match="`field` is a function"):
        simulate.follow_cells(model, straight, 2)
    text = cells.copy()
    text.obs["day"] = "late"
    with pytest.raises(DataError, match="`time` is no number"):
        simulate.follow_cells(model, field, 2, adata=text, time_key="day")
    adata = make_adata()
    SCVI.setup_anndata(adata)
    shares = SCVI(adata, n_latent=3, n_hidden=8, latent_distribution="ln")
    shares.is_trained = True
    with pytest.raises(ModelTypeError, match="states that are shares, which sum to one"):
        simulate.follow_cells(shares, straight(V, is_stationary=True), 2)


@pytest.fixture(scope="module")
def of_latent_depth(make_adata):
    scvi.settings.seed = 0
    adata = make_adata(120, seed=2)
    adata.obs["day"] = 0.0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=3, n_hidden=16, use_observed_lib_size=False)
    model.train(max_epochs=3, enable_progress_bar=False)
    return model


def test_a_latent_depth_is_that_of_the_posterior_that_is_asked_for(of_latent_depth):
    """Drawn with the state, once for a trajectory, as of cells that are sampled anew."""
    stays = straight([0.0, 0, 0])
    rows = {"time_key": "day", "n_trajectories": 4, "seed": 1}
    out = simulate.follow_cells(of_latent_depth, stays, [0, 2, 4], **rows)
    depth = out.obs["lucidvi_exposure"].to_numpy().reshape(3, 4, -1)
    np.testing.assert_allclose(depth[1:], depth[:1].repeat(2, axis=0), rtol=1e-5)
    n = of_latent_depth.adata.n_obs
    sampled = simulate.sample_cells(of_latent_depth, 4 * n, indices=np.arange(n), seed=2)
    expected = sampled.obs["lucidvi_exposure"].to_numpy()
    error = np.hypot(expected.std(), depth[0].std()) / np.sqrt(4 * n)
    assert abs(depth[0].mean() - expected.mean()) < 4 * error
    encoder = simulate.follow_cells(of_latent_depth, stays, 0, posterior="encoder", **rows)
    assert abs(encoder.obs["lucidvi_exposure"].mean() - expected.mean()) > 4 * error
    between = simulate.interpolate_time(of_latent_depth, stays, 0, 400, time_key="day")
    assert abs(between.obs["lucidvi_exposure"].mean() - expected.mean()) < 6 * error


def test_columns_of_the_model_that_would_be_lost(make_adata):
    adata = make_adata()
    adata.obs["lucidvi_time"] = adata.obs["batch"]
    SCVI.setup_anndata(adata, batch_key="lucidvi_time")
    model = SCVI(adata, n_latent=3, n_hidden=8)
    model.is_trained = True
    with pytest.raises(DataError, match="covariate 'lucidvi_time' is called like a column"):
        simulate.follow_cells(model, straight(V, is_stationary=True), 2)


def test_times_of_many_digits_and_the_record(model, cells):
    adata = cells.copy()
    adata.obs["day"] = 20230105
    field = straight(V, times=(20230101.0, 20230110.0))
    out = simulate.follow_cells(
        model, field, [20230105, 20230106], adata=adata, time_key="day", indices=[0]
    )
    assert out.obs_names.tolist() == ["cell0@20230105", "cell0@20230106"]
    assert "from 20230101 to 20230110" in out.uns["lucidvi_simulation"]["request"]["field"]
    with pytest.raises(DataError, match="in the units of the field"):
        followed(model, 3, time_key="day", adata=adata)
