"""Other likelihoods, on counts whose means and likelihood are known."""

import numpy as np
import pytest
import torch
from scipy import stats

from lucidvi.audit.subject._alternatives import DecodedCells, tried

N_CELLS, N_GENES, THETA, ZI = 600, 40, 2.0, 0.25


def cells(seed, inflation=0.0, theta_by_batch=(THETA, THETA)):
    """Negative binomial counts with known means."""
    rng = np.random.default_rng(seed)
    mu = np.random.default_rng(0).uniform(1, 10, N_GENES) * rng.lognormal(0, 0.5, (N_CELLS, 1))
    batch = rng.integers(2, size=N_CELLS)
    theta = np.asarray(theta_by_batch)[batch][:, None]
    x = rng.poisson(mu * rng.gamma(theta * np.ones_like(mu), 1 / theta))
    x[rng.random(x.shape) < inflation] = 0
    log_mu = torch.tensor(np.log((1 - inflation) * mu), dtype=torch.float32)
    counts = torch.tensor(x, dtype=torch.float32)
    nothing = torch.zeros(N_CELLS)
    return DecodedCells(counts.to_sparse_csr(), log_mu, torch.tensor(batch), nothing, nothing)


def held_out(family, **kwargs):
    return float(tried(family, cells(1, **kwargs), cells(2, **kwargs))[1].mean())


def exact(inflation=0.0):
    """Log likelihood of the held-out cells under what made them, by scipy."""
    given = cells(2, inflation)
    x, mu = given.x.to_dense().numpy(), given.log_mean.double().exp().numpy() / (1 - inflation)
    p = (1 - inflation) * stats.nbinom(THETA, THETA / (THETA + mu)).pmf(x)
    return float(np.log(p + inflation * (x == 0)).sum(axis=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("family", "inflation"), [("nb", 0.0), ("zinb", ZI), ("zinb", 0.0)])
def test_the_right_family_comes_close_to_the_truth(family, inflation):
    """A parameter fitted to n cells loses about 1 / 2n nats on others."""
    lost = exact(inflation) - held_out(family, inflation=inflation)
    assert abs(lost) < 5 * N_GENES / N_CELLS


def test_what_is_needed_is_found():
    assert held_out("nb") - held_out("poisson") > 20
    assert held_out("zinb", inflation=ZI) - held_out("nb", inflation=ZI) > 1
    assert held_out("zinb") - held_out("nb") < 0.1
    by_batch = {"theta_by_batch": (0.5, 10.0)}
    assert held_out("nb by batch", **by_batch) - held_out("nb", **by_batch) > 3
    assert held_out("nb by batch") - held_out("nb") < 0.1


def test_poisson_has_nothing_to_fit():
    given = cells(2)
    want = stats.poisson(given.log_mean.double().exp().numpy()).logpmf(given.x.to_dense().numpy())
    np.testing.assert_allclose(tried("poisson", cells(1), given)[1], want.sum(axis=1), rtol=1e-4)
