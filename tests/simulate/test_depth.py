"""Fewer and more counts, against closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats

from lucidvi.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from lucidvi.simulate._depth import thinned

MU, THETA, ZI, MORE = 3.0, 1.7, 0.3, 2.5


def negative_binomial(mu):
    return stats.nbinom(THETA, THETA / (THETA + mu)).pmf


def zero_inflated(mu):
    pmf = negative_binomial(mu)
    return lambda x: ZI * (x == 0) + (1 - ZI) * pmf(x)


#: Family, parameters besides the mean, and the probabilities of counts by mean.
CASES = {
    "nb": (NegativeBinomial, {"log_theta": np.log(THETA)}, negative_binomial),
    "zinb": (
        ZeroInflatedNegativeBinomial,
        {"log_theta": np.log(THETA), "zi_logits": np.log(ZI / (1 - ZI))},
        zero_inflated,
    ),
    "poisson": (Poisson, {}, lambda mu: stats.poisson(mu).pmf),
}


def likelihood(family, parameters, mu, n):
    """Return the likelihood of ``n`` cells with one gene."""
    given = {name: torch.full((n, 1), value) for name, value in parameters.items()}
    return family(log_scale=torch.full((n, 1), np.log(mu)), log_library=torch.zeros(n, 1), **given)


def further(case, x):
    family, parameters, _ = CASES[case]
    px = likelihood(family, parameters, MU, len(x))
    x = torch.tensor(x, dtype=torch.float32)[:, None]
    return px.further(x, torch.full((len(x), 1), MORE))


@pytest.mark.parametrize("case", CASES)
def test_observed_and_further_counts_are_those_of_the_larger_exposure(case):
    pmf = CASES[case][2]
    for total in range(25):
        x = np.arange(total + 1)
        left = torch.tensor(total - x, dtype=torch.float32)[:, None]
        probability = further(case, x).log_prob(left).exp().numpy().ravel()
        want = pmf((1 + MORE) * MU)(total)
        assert (pmf(MU)(x) * probability).sum() == pytest.approx(want, rel=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_thinning_undoes_it(case):
    """Fewer and more counts are as probable by thinning the more as by adding to the fewer."""
    pmf = CASES[case][2]
    x = np.arange(12)
    added = further(case, x)
    for left in range(12):
        more = x + left
        thinning = stats.binom(more, 1 / (1 + MORE)).pmf(x) * pmf((1 + MORE) * MU)(more)
        adding = pmf(MU)(x) * added.log_prob(torch.tensor([[float(left)]])).exp().numpy().ravel()
        np.testing.assert_allclose(adding, thinning, rtol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_mean_variance_and_draws_agree(case):
    torch.manual_seed(0)
    x = np.repeat([0, 4], 20_000)
    added = further(case, x)
    drawn = added.sample().numpy().ravel()
    for count in (0, 4):
        first = np.argmax(x == count)
        mean, variance = added.mean[first].item(), added.variance[first].item()
        found = drawn[x == count]
        assert abs(found.mean() - mean) < 4 * np.sqrt(variance / len(found))
        fourth = np.mean((found - mean) ** 4)
        assert abs(found.var() - variance) < 4 * np.sqrt(fourth / len(found))


def test_no_further_exposure_adds_nothing():
    family, parameters, _ = CASES["zinb"]
    px = likelihood(family, parameters, MU, 3)
    added = px.further(torch.tensor([[0.0], [2.0], [900.0]]), torch.zeros(3, 1))
    assert (added.sample() == 0).all()
    assert (added.mean == 0).all()


def test_thinned():
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 1, 5, 40, 3000]]).expand(4000, -1)
    kept = thinned(x, torch.full((4000, 1), 0.25)).numpy()
    want = stats.binom([0, 1, 5, 40, 3000], 0.25)
    error = 4 * np.sqrt(want.var() / 4000)
    assert (np.abs(kept.mean(axis=0) - want.mean()) <= error).all()
    np.testing.assert_allclose(kept.var(axis=0), want.var(), rtol=0.1)
    assert np.array_equal(thinned(x, torch.ones(4000, 1)), x)
