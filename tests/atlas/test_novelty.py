"""P-values are uniform on cells like the reference's, and small on a type that it lacks."""

import numpy as np
import pytest
import scvi
from scipy import stats
from scipy.spatial.distance import mahalanobis

from lucidvi.atlas import Reference
from lucidvi.atlas._neighbours import Neighbours
from lucidvi.atlas._novelty import Types, novelty_scores, p_values
from lucidvi.atlas._voters import States, Voters
from lucidvi.model import SCVI


def voters_of(loc, codes, scale=0.1):
    loc = np.float32(loc)
    states = States(loc, np.full_like(loc, scale))
    return Voters(states, codes, int(codes.max()) + 1, Neighbours(loc))


def drawn(n, seed):
    """Return cells of two types of different widths, and their types."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(2, size=n)
    loc = (
        np.array([[-3.0, 0], [3.0, 0]])[codes]
        + rng.normal(size=(n, 2)) * (1 - 0.7 * codes)[:, None]
    )
    return np.float32(loc), codes


def test_p_values_by_hand():
    found = p_values(np.array([0.5, 1.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [1.0, 1.0, 0.5, 0.25])


def test_p_values_are_uniform_on_exchangeable_cells():
    voters = voters_of(*drawn(600, 0))
    of = [
        novelty_scores(voters, States(loc, np.full_like(loc, 0.1)))
        for loc in (drawn(1_500, 1)[0], drawn(1_500, 2)[0])
    ]
    p = p_values(of[1], np.sort(of[0]))
    assert stats.kstest(p, "uniform").pvalue > 0.01
    for rate in (0.01, 0.05, 0.1):  # of two samples of 1,500: four standard errors
        assert abs((p <= rate).mean() - rate) < 4 * np.sqrt(2 * rate * (1 - rate) / 1_500)


def test_cells_between_the_types_and_beyond_them_are_new():
    voters = voters_of(*drawn(600, 0))
    own = np.sort(novelty_scores(voters, voters.states, besides=np.arange(600)))
    new = np.float32([[0, 0], [0, 5], [3, 3], [9, 0]])
    p = p_values(novelty_scores(voters, States(new, np.full_like(new, 0.1))), own)
    assert (p < 0.02).all()
    wide = States(new, np.full_like(new, 10))  # of which next to nothing was measured
    assert (p_values(novelty_scores(voters, wide), own) > 0.5).all()


def test_distance_to_a_type_is_mahalanobis():
    loc, codes = drawn(50_000, 3)
    types = Types.of(loc.astype(float), codes, 2)
    z, scale = np.float32([[-1.0, 2.0]]), np.float32([[0.5, 0.2]])
    for label, sd in ((0, 1.0), (1, 0.3)):
        inverse = np.diag(1 / (sd**2 + scale[0].astype(float) ** 2))
        centre = [-3.0 + 6 * label, 0]
        expected = mahalanobis(z[0], centre, inverse) / np.sqrt(2)
        assert types.distance(States(z, scale), np.array([label])) == pytest.approx(
            expected, rel=0.02
        )


def test_a_label_of_one_cell_is_as_wide_as_the_others():
    loc, codes = drawn(400, 4)
    types = Types.of(np.append(loc, [[0, 9]], axis=0), np.append(codes, 2), 3)
    np.testing.assert_allclose(np.diag(types.covariance[2]), types.variance * 20 / 21)


@pytest.fixture(scope="module")
def incomplete(simulate):
    """Return a reference of two of the three types, with cells to judge it by."""
    adata = simulate(900, seed=3)
    adata = adata[adata.obs["cell_type"] != "NK"].copy()
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=32, n_latent=4, gene_likelihood="nb")
    model.train(max_epochs=30, batch_size=64, train_size=0.6)
    return Reference.from_model(model)


@pytest.fixture(scope="module")
def strangers(simulate):
    return simulate(600, seed=11)


def test_a_type_that_the_reference_lacks_is_unknown(incomplete, strangers):
    out = incomplete.map(strangers, novelty_rate=0.1)
    new = (out.obs["cell_type"] == "NK").to_numpy()
    p = out.obs["lucidvi_novelty"].to_numpy()
    auroc = stats.mannwhitneyu(p[~new], p[new]).statistic / (new.sum() * (~new).sum())
    assert auroc > 0.9
    unknown = (out.obs["lucidvi_call"] == "unknown").to_numpy()
    np.testing.assert_array_equal(unknown, p <= 0.1)
    assert unknown[new].mean() > 0.5
    known = out.obs["lucidvi_call"].astype(str)[~unknown]
    assert (known == out.obs["lucidvi_label"].astype(str)[~unknown]).all()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_known_types_are_unknown_at_the_rate_that_was_chosen(incomplete, strangers, share):
    genes = np.random.default_rng(1).random(strangers.n_vars) <= share
    known = strangers[strangers.obs["cell_type"] != "NK", genes].copy()
    p = incomplete.map(known).obs["lucidvi_novelty"].to_numpy()
    # About 400 cells by 230 calibration cells: three standard errors are 0.075 at a rate of 0.1.
    assert abs((p <= 0.1).mean() - 0.1) < 0.075
    assert abs((p <= 0.5).mean() - 0.5) < 0.125


def test_nothing_is_unknown_at_a_rate_of_zero(incomplete, strangers):
    assert not (
        incomplete.map(strangers[:20], novelty_rate=0).obs["lucidvi_call"] == "unknown"
    ).any()
