"""How far donors differ, against what was put in."""

import numpy as np
import pytest
from scipy import sparse

from lucidvi.simulate.designs._gene_donors import donor_spread


def counts_of(spread, n_donors=60, n_cells=60, n_genes=200, seed=0):
    """Negative binomial counts of donors with log-normal factors, in cells of any depth."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    factor = np.exp(rng.normal(0, spread, (n_donors, n_genes)))
    mean = rng.uniform(0.2, 3, n_genes) * factor[donor] * rng.lognormal(0, 0.3, (len(donor), 1))
    return sparse.csr_matrix(rng.poisson(mean * rng.gamma(2, 0.5, mean.shape))), donor


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5])
def test_spread_is_found_beneath_the_noise_of_cells(spread):
    found = donor_spread(*counts_of(spread))
    assert np.median(found) == pytest.approx(spread, abs=0.03)


def test_genes_keep_their_own_with_donors_enough():
    spread = np.tile([0.1, 0.6], 100)
    found = donor_spread(*counts_of(spread))
    assert np.median(found[::2]) == pytest.approx(0.1, abs=0.05)
    assert np.median(found[1::2]) == pytest.approx(0.6, abs=0.06)


def test_few_donors_are_shrunk_to_what_all_genes_have():
    found = donor_spread(*counts_of(0.3, n_donors=5))
    assert found.std() < 0.1
    assert np.median(found) == pytest.approx(0.3, abs=0.08)


def test_cells_of_no_donor_do_not_count():
    counts, donor = counts_of(0.4, n_donors=8)
    some = np.where(donor < 4, donor, -1)
    kept = donor < 4
    np.testing.assert_allclose(donor_spread(counts, some), donor_spread(counts[kept], donor[kept]))
