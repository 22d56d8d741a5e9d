"""The aggregate posterior against cases that are known exactly."""

import numpy as np
import pytest
from scipy import stats

from lucidvi.audit.checks._aggregate import aggregate, log_densities


def cells(n_latent, scale, n=3000, seed=7):
    """Cells whose aggregate posterior is the prior."""
    loc = np.sqrt(1 - scale**2) * np.random.default_rng(seed).normal(size=(n, n_latent))
    return loc, np.full_like(loc, scale)


def test_log_densities():
    rng = np.random.default_rng(0)
    z, loc, scale = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.uniform(0.1, 2, (7, 3))
    want = stats.norm(loc, scale).logpdf(z[:, None]).sum(axis=-1)
    np.testing.assert_allclose(log_densities(z, loc, scale), want)


@pytest.mark.parametrize(("n_latent", "scale"), [(1, 0.3), (2, 0.3), (3, 0.5), (2, 0.99)])
def test_aggregate_that_is_the_prior(n_latent, scale):
    """Its KL is 0, and the mutual information all of the KL, -d log(scale)."""
    found = aggregate(*cells(n_latent, scale))
    assert -0.02 < found.kl_lower < 0.03
    assert -0.02 < found.kl_upper < 0.06
    assert found.kl_lower <= found.kl_upper
    assert found.holes < 0.03


def test_shifted_aggregate_has_a_known_kl():
    loc, scale = cells(2, 0.4)
    found = aggregate(loc + 1.0, scale)
    want = 2 * 0.5 * 1.0**2
    assert found.kl_lower - 0.05 < want < found.kl_upper + 0.05
    assert found.kl_upper - found.kl_lower < 0.1


def test_mutual_information_saturates_at_the_log_of_the_cells():
    loc, scale = cells(6, 0.01, n=500)
    kl = (0.5 * (loc**2 + scale**2 - 1) - np.log(scale)).sum(axis=1).mean()
    found = aggregate(loc, scale)
    assert kl - found.kl_upper == pytest.approx(np.log(500), abs=0.05)
    assert found.kl_lower == 0


def test_holes():
    """Cells on one side of 0 leave the other half of the prior uncovered."""
    loc, scale = cells(1, 0.02)
    assert aggregate(np.abs(loc), scale).holes == pytest.approx(0.5, abs=0.04)
