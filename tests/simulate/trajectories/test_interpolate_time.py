"""The population between two samples, by a field whose paths and growth are known."""

import numpy as np
import pytest
from tests.linear_field import straight

from lucidvi import simulate
from lucidvi.errors import DataError

V = np.array([0.5, -0.2, 0.1])


@pytest.fixture(scope="module")
def cells(model):
    adata = model.adata.copy()
    adata.obs["day"] = np.where(np.arange(adata.n_obs) < 50, 0, 2)
    adata.obs.loc[adata.obs_names[-10:], "day"] = 1  # a time that the field does not know
    return adata


def between(model, cells, time, field=None, **kwargs):
    field = straight(V, times=(0.0, 2.0, 3.0)) if field is None else field
    return simulate.interpolate_time(model, field, time, time_key="day", adata=cells, **kwargs)


def test_samples_count_as_far_as_they_are_near(model, cells):
    out = between(model, cells, 0.5, n_cells=2_000)
    assert (out.obs["lucidvi_origin_time"] == 0).mean() == pytest.approx(0.75, abs=0.04)
    assert set(out.obs["lucidvi_origin_time"]) == {0, 2}
    assert set(out.obs["lucidvi_time"]) == {0.5}
    assert out.obs_names[0] == "time0.5_0"
    at = between(model, cells, 2, n_cells=50)
    assert set(at.obs["lucidvi_origin_time"]) == {2}


def test_states_are_on_the_way(model, cells):
    out = between(model, cells, 1.0, n_cells=3_000, posterior="encoder", seed=2)
    origin = cells.obs_names.get_indexer(out.obs["lucidvi_origin"])
    mean, variance = model.get_latent_representation(return_dist=True)
    way = (1.0 - cells.obs["day"].to_numpy()[origin])[:, None] * V
    scores = (out.obsm["X_lucidvi"] - way - mean[origin]) / np.sqrt(variance[origin])
    assert abs(scores.mean()) < 0.15
    assert 0.85 < scores.std() < 1.15


def test_cells_count_by_their_mass(model, cells):
    """Those that grow by exp(z t) are drawn as often, forwards and, inversely, backwards."""
    growth = np.array([3.0, 0, 0])
    field = straight([0.0, 0, 0], times=(0.0, 2.0), growth=growth)
    out = between(model, cells, 1.0, field, n_cells=4_000, posterior="encoder")
    z, first = out.obsm["X_lucidvi"][:, 0], out.obs["lucidvi_origin_time"] == 0
    even = straight([0.0, 0, 0], times=(0.0, 2.0))
    flat = between(model, cells, 1.0, even, n_cells=4_000, posterior="encoder")
    for of_time, sign in ((0, 1), (2, -1)):
        own = flat.obs["lucidvi_origin_time"] == of_time
        before = flat.obsm["X_lucidvi"][own, 0].astype(float)
        weight = np.exp(sign * 3.0 * before)
        expected = (weight * before).sum() / weight.sum()
        now = z[first if of_time == 0 else ~first]
        assert now.mean() == pytest.approx(expected, abs=0.15 * before.std() + 0.02)


def test_depth_batch_and_shares(model, cells):
    out = between(model, cells, 1.0, n_cells=90, batch={"0": 1, "2": 2}, library_size=80)
    assert out.obs["batch"].astype(str).value_counts().to_dict() == {"2": 60, "0": 30}
    np.testing.assert_allclose(out.obs["lucidvi_exposure"], 80, rtol=1e-5)
    own = between(model, cells, 1.0, n_cells=40)
    origin = cells[own.obs["lucidvi_origin"]]
    assert own.obs["batch"].astype(str).tolist() == origin.obs["batch"].astype(str).tolist()
    np.testing.assert_allclose(
        own.obs["lucidvi_exposure"], np.ravel(origin.X.sum(axis=1)), rtol=1e-5
    )


def test_one_seed_one_result(model, cells):
    first, again = (between(model, cells, 1.5, n_cells=30) for _ in range(2))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    assert first.uns["lucidvi_simulation"]["request"]["time"] == 1.5


def test_what_is_refused(model, cells):
    with pytest.raises(DataError, match=r"`time` is 3.5, .* from 0 to 3"):
        between(model, cells, 3.5)
    with pytest.raises(DataError, match="`time` is nan"):
        between(model, cells, np.nan)
    with pytest.raises(DataError, match="no cell of the time 3"):
        between(model, cells, 2.5)
    with pytest.raises(DataError, match="depends on no time"):
        between(model, cells, 1, straight(V, is_stationary=True))
    with pytest.raises(DataError, match="`time_key` is not given"):
        simulate.interpolate_time(model, straight(V), 1, time_key=None)
