"""P-values are uniform on cells like the reference's, and small on a type that it lacks."""

import numpy as np
import pandas as pd
import pytest
import scvi
from scipy import stats
from scipy.spatial.distance import mahalanobis

from lucidvi.atlas import Reference
from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._novelty import novelty, p_values
from lucidvi.atlas.labels._types import Types
from lucidvi.atlas.labels._voters import Voters
from lucidvi.atlas.mapping._agreement import agreement
from lucidvi.model import SCVI
from lucidvi.results import Posteriors


def posteriors(loc, scale):
    return Posteriors(loc=loc, scale=scale, names=pd.RangeIndex(len(loc)).astype(str))


def voters_of(loc, codes, scale=0.1):
    loc = np.float32(loc)
    states = posteriors(loc, np.full_like(loc, scale))
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
        voters.distances(posteriors(loc, np.full_like(loc, 0.1)))
        for loc in (drawn(1_500, 1)[0], drawn(1_500, 2)[0])
    ]
    p = p_values(of[1], np.sort(of[0]))
    assert stats.kstest(p, "uniform").pvalue > 0.01
    for rate in (0.01, 0.05, 0.1):  # of two samples of 1,500: four standard errors
        assert abs((p <= rate).mean() - rate) < 4 * np.sqrt(2 * rate * (1 - rate) / 1_500)


def test_cells_between_the_types_and_beyond_them_are_new():
    voters = voters_of(*drawn(600, 0))
    own = np.sort(voters.distances(voters.posteriors, exclude=np.arange(600)))
    new = np.float32([[0, 0], [0, 5], [3, 3], [9, 0]])
    p = p_values(voters.distances(posteriors(new, np.full_like(new, 0.1))), own)
    assert (p < 0.02).all()
    wide = posteriors(new, np.full_like(new, 10))  # of which next to nothing was measured
    assert (p_values(voters.distances(wide), own) > 0.5).all()


def test_distance_to_a_type_is_mahalanobis():
    loc, codes = drawn(50_000, 3)
    types = Types.of(loc.astype(float), codes, 2)
    z, scale = np.float32([[-1.0, 2.0]]), np.float32([[0.5, 0.2]])
    for label, sd in ((0, 1.0), (1, 0.3)):
        inverse = np.diag(1 / (sd**2 + scale[0].astype(float) ** 2))
        centre = [-3.0 + 6 * label, 0]
        expected = mahalanobis(z[0], centre, inverse) / np.sqrt(2)
        assert types.distance(posteriors(z, scale), np.array([label])) == pytest.approx(
            expected, rel=0.02
        )


def test_a_label_of_one_cell_is_as_wide_as_the_others():
    loc, codes = drawn(400, 4)
    types = Types.of(np.append(loc, [[0, 9]], axis=0), np.append(codes, 2), 3)
    np.testing.assert_allclose(np.diag(types.covariance[2]), types.variance * 20 / 21)


def test_agreement_by_hand():
    residuals = np.float32([[1, 0, 2], [3, 4, 0], [0, 1, 0], [9, 9, 9]])
    loc = np.float32([[0], [0.1], [0.2], [50]])
    found = agreement(residuals[:2], loc[:2])  # each has but the other one
    np.testing.assert_allclose(found, [3 / 5, 3 / np.sqrt(5)], rtol=1e-6)
    means = [residuals[[j for j in range(4) if j != i]].mean(axis=0) for i in range(4)]
    expected = [r @ m / np.linalg.norm(m) for r, m in zip(residuals, means, strict=True)]
    np.testing.assert_allclose(agreement(residuals, loc), expected, rtol=1e-6)
    assert np.isnan(agreement(residuals[:1], loc[:1])).all()
    assert len(agreement(residuals[:0], loc[:0])) == 0


def test_agreement_is_standard_normal_without_structure_also_beside_new_cells():
    """Cells that have nothing in common, mixed with as many that share shifts of some genes."""
    rng = np.random.default_rng(5)
    residuals = rng.normal(size=(800, 200)).astype(np.float32)
    new = np.arange(800) < 400
    residuals[new, :20] += 1
    found = agreement(residuals, rng.normal(size=(800, 3)))
    assert abs(found[~new].mean()) < 4 / np.sqrt(400)
    assert found[~new].std() == pytest.approx(1, abs=4 / np.sqrt(800))
    # About half of the 15 nearest share 20 shifts of 1: |m|^2 = 20 / 4 + 200 / 15, r m = 20 / 2.
    assert found[new].mean() == pytest.approx(10 / np.sqrt(5 + 200 / 15), rel=0.1)


def test_novelty_adds_what_the_distance_does_not_see():
    rng = np.random.default_rng(6)
    distance, common = np.exp(rng.normal(size=999)), rng.normal(size=999)
    p = novelty(np.ones(3), np.array([0.0, 6.0, np.nan]), distance, common)
    assert p[0] > 0.3
    assert p[1] == pytest.approx(1e-3)
    assert p[2] == pytest.approx(p_values(np.ones(1), np.sort(distance))[0])
    far = novelty(np.full(1, 1e3), np.zeros(1), distance, common)
    assert far == pytest.approx(1e-3)
    without = novelty(np.ones(3), np.array([0.0, 6.0, np.nan]), distance, np.full(999, np.nan))
    np.testing.assert_allclose(without, p[2])
    same = novelty(np.ones(1), np.zeros(1), np.ones(9), np.zeros(9))  # no spread at all
    assert same == 1


def test_p_values_of_both_are_uniform_on_exchangeable_cells():
    rng = np.random.default_rng(7)
    distance, common = np.exp(rng.normal(size=3_000)), rng.standard_t(3, size=3_000)
    p = novelty(distance[:1_500], common[:1_500], distance[1_500:], common[1_500:])
    # Of two samples: 1 % of the largest distances are above 1.63 roots of (1 / n + 1 / n).
    assert stats.kstest(p, "uniform").statistic < 1.63 * np.sqrt(2 / 1_500)


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
    is_known = strangers.obs["cell_type"] != "NK"
    p = []
    for seed in range(1, 2 if share == 1 else 5):  # which genes are missing matters, too
        genes = np.random.default_rng(seed).random(strangers.n_vars) <= share
        known = strangers[is_known, genes].copy()
        p.append(incomplete.map(known).obs["lucidvi_novelty"].to_numpy())
    p = np.concatenate(p)
    # About 400 cells by 230 calibration cells: three standard errors are 0.075 at a rate of 0.1.
    assert abs((p <= 0.1).mean() - 0.1) < 0.075
    assert abs((p <= 0.5).mean() - 0.5) < 0.125


def test_nothing_is_unknown_at_a_rate_of_zero(incomplete, strangers):
    assert not (
        incomplete.map(strangers[:20], novelty_rate=0).obs["lucidvi_call"] == "unknown"
    ).any()
