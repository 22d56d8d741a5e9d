"""Distribution functions of each family, against scipy."""

import numpy as np
import torch
from scipy import stats

from lucidvi.distributions import (
    CountLikelihood,
    NegativeBinomial,
    NegativeBinomialMixture,
    Normal,
    Poisson,
    ZeroInflatedNegativeBinomial,
)

X = np.array([[0.0, 1, 2, 7, 300, 0, 20]])
MU = np.array([[0.01, 1, 3, 5, 250, 9, 1e-3]])
THETA = np.array([[0.1, 1, 2, 50, 3, 0.5, 1e5]])


def cumulative(family, mu=MU, theta=THETA, **parameters):
    """Of a likelihood in float64 with this mean, and inverse dispersion if it has one."""
    if "log_theta" in family.parameters:
        parameters["log_theta"] = torch.tensor(theta).log()
    library = torch.zeros(1, 1, dtype=torch.float64)
    px = family(log_scale=torch.tensor(mu).log(), log_library=library, **parameters)
    return px.cumulative(torch.tensor(X))


def test_poisson():
    lower, upper = cumulative(Poisson)
    np.testing.assert_allclose(upper, stats.poisson(MU).cdf(X), rtol=1e-10)
    np.testing.assert_allclose(lower, stats.poisson(MU).cdf(X - 1), rtol=1e-10)


def test_negative_binomial():
    lower, upper = cumulative(NegativeBinomial)
    exact = stats.nbinom(THETA, THETA / (THETA + MU))
    np.testing.assert_allclose(upper, exact.cdf(X), rtol=1e-8)
    np.testing.assert_allclose(lower, exact.cdf(X - 1), rtol=1e-8)


def test_negative_binomial_of_no_dispersion_is_a_poisson():
    found = cumulative(NegativeBinomial, theta=np.full_like(MU, 1e12))
    np.testing.assert_allclose(found, cumulative(Poisson), atol=1e-4)


def test_zero_inflation():
    zi_logits = torch.full(MU.shape, np.log(0.3 / 0.7), dtype=torch.float64)
    lower, upper = cumulative(ZeroInflatedNegativeBinomial, zi_logits=zi_logits)
    exact = stats.nbinom(THETA, THETA / (THETA + MU))
    np.testing.assert_allclose(upper, 0.3 + 0.7 * exact.cdf(X), rtol=1e-8)
    np.testing.assert_allclose(lower, np.where(X > 0, 0.3 + 0.7 * exact.cdf(X - 1), 0), rtol=1e-8)


def test_normal():
    lower, upper = cumulative(Normal)
    np.testing.assert_allclose(lower, stats.norm(MU, THETA.clip(np.exp(-10))).cdf(X))
    assert (lower == upper).all()


def test_sums_of_probabilities_are_the_distribution_function():
    """What a family gets that has no closed form of its own."""
    for family in (Poisson, NegativeBinomial):
        px = family(
            log_scale=torch.tensor(MU).log(),
            log_library=torch.zeros(1, 1, dtype=torch.float64),
            **{name: torch.tensor(THETA).log() for name in family.parameters},
        )
        summed = CountLikelihood.cumulative(px, torch.tensor(X))
        np.testing.assert_allclose(summed, px.cumulative(torch.tensor(X)), rtol=1e-8, atol=1e-12)


def test_mixture_is_that_of_its_parts():
    """The closed form against probabilities that are added up, count by count."""
    rng = np.random.default_rng(0)
    shape = (40, 5)
    logits = {
        key: torch.tensor(rng.normal(size=shape)) for key in ("ratio_logits", "background_logits")
    }
    log_mean = torch.tensor(rng.normal(2, 1.5, size=shape))
    px = NegativeBinomialMixture(
        log_scale=log_mean,
        log_library=torch.zeros(40, 1).double(),
        log_theta=torch.tensor(rng.normal(size=5)),
        **logits,
    )
    x = torch.tensor(px.sample().numpy())
    x[0] = 0
    np.testing.assert_allclose(
        px.cumulative(x), CountLikelihood.cumulative(px, x), rtol=1e-6, atol=1e-9
    )
