"""The families that genes do not have, against their definitions."""

from typing import ClassVar

import numpy as np
import pytest
import scipy.stats
import scvi.distributions
import torch

from lucidvi.distributions import Bernoulli, NegativeBinomialMixture, likelihood_of
from lucidvi.module import Modality


@pytest.fixture
def mixture():
    generator = torch.Generator().manual_seed(0)
    names = ("log_theta", "ratio_logits", "background_logits")
    parameters = {n: torch.randn(4, 5, generator=generator, dtype=torch.float64) for n in names}
    return NegativeBinomialMixture(
        log_scale=torch.randn(4, 5, generator=generator, dtype=torch.float64),
        log_library=torch.full((4, 1), 1.5, dtype=torch.float64),
        **parameters,
    )


def values_of(px):
    x = np.arange(60.0)[:, None, None]
    return x, px.log_prob(torch.from_numpy(np.broadcast_to(x, (60, 4, 5)).copy())).exp().numpy()


def test_mixture_is_that_of_scipy_and_of_scvi_tools(mixture):
    x, got = values_of(mixture)
    theta = mixture.linear("log_theta").numpy()
    share = mixture.background.numpy()
    of_both = [
        scipy.stats.nbinom.pmf(x, theta, theta / (theta + mean.numpy()))
        for mean in (mixture.background_mean, mixture.mu)
    ]
    np.testing.assert_allclose(got, share * of_both[0] + (1 - share) * of_both[1], rtol=1e-9)
    foreground = (1 - share) * of_both[1] / got
    counts = torch.from_numpy(np.broadcast_to(x, got.shape).copy())
    np.testing.assert_allclose(mixture.foreground_given(counts), foreground, rtol=1e-7)
    theirs = scvi.distributions.NegativeBinomialMixture(
        mu1=mixture.background_mean,
        mu2=mixture.mu,
        theta1=mixture.linear("log_theta"),
        mixture_logits=mixture.parameter("background_logits"),
    )
    torch.testing.assert_close(theirs.mean, mixture.mean)
    torch.testing.assert_close(
        theirs.log_prob(counts), mixture.log_prob(counts), rtol=1e-4, atol=1e-4
    )


def test_mixture_of_one_is_the_negative_binomial():
    parameters = {"log_theta": torch.tensor(0.3), "background_logits": torch.tensor(0.7)}
    mean, library = torch.linspace(-2, 3, 6).expand(2, 6), torch.zeros(2, 1)
    px = NegativeBinomialMixture(
        log_scale=mean, log_library=library, ratio_logits=torch.tensor(20.0), **parameters
    )
    x = torch.tensor([[0.0, 1.0, 2.0, 5.0, 9.0, 40.0]])
    theta = torch.tensor(0.3).exp()
    want = scipy.stats.nbinom.logpmf(x, theta, theta / (theta + mean.exp()))
    np.testing.assert_allclose(px.log_prob(x), want, rtol=1e-5)


@pytest.mark.parametrize("family", ["mixture", "bernoulli"])
def test_moments_draws_and_distribution_functions(family, mixture, seed):
    px = mixture.scaled(0.0)
    if family == "bernoulli":
        px = Bernoulli(log_scale=mixture.log_scale - 2, log_library=mixture.log_library)
    n_draws = 40_000
    draws = px.sample((n_draws,)).double()
    error = (px.variance / n_draws).sqrt()
    assert ((draws.mean(0) - px.mean).abs() < 4.5 * error).all()
    centered = draws - draws.mean(0)
    kurtosis = centered.pow(4).mean(0) / centered.pow(2).mean(0).square()
    relative = ((kurtosis - 1) / n_draws).clamp(min=1e-9).sqrt()
    assert ((draws.var(0) / px.variance - 1).abs() < 5 * relative + 0.03).all()
    # Draws of what is not zero, one likelihood a draw.
    many = type(px)(
        log_scale=px.log_scale[:1].expand(20_000, 5),
        log_library=px.log_library[:1].expand(20_000, 1),
        **{name: px.parameter(name)[:1].expand(20_000, 5) for name in px.parameters},
    )
    _rows, columns, counts = many.sample_nonzero()
    assert (counts > 0).all()
    total = torch.zeros(5, dtype=torch.float64).index_add_(0, columns, counts.double())
    error = (px.variance[0] / 20_000).sqrt()
    assert ((total / 20_000 - px.mean[0]).abs() < 4.5 * error).all()
    x = torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0]]).expand(4, 5)
    below, at_most = px.cumulative(x)
    at = [px.log_prob(torch.full((4, 5), k)).exp().numpy() for k in (0.0, 1.0)]
    np.testing.assert_allclose(below, np.where(x > 0, at[0], 0), atol=1e-6)
    np.testing.assert_allclose(at_most, np.where(x > 0, at[0] + at[1], at[0]), atol=1e-6)


@pytest.mark.parametrize("log_rate", [-30.0, -15.0, -6.0, 0.0, 3.0, 12.0])
def test_bernoulli_at_every_rate(log_rate):
    log_mean = torch.full((1, 2), log_rate, requires_grad=True)
    px = Bernoulli(log_scale=log_mean, log_library=torch.zeros(1, 1))
    value = px.log_prob(torch.tensor([[0.0, 1.0]]))
    rate = np.exp(log_rate)
    want = [-rate, np.log(-np.expm1(-rate))]
    np.testing.assert_allclose(value[0].detach(), want, rtol=1e-5, atol=1e-30)
    value.sum().backward()
    slope = [-rate, rate / np.expm1(rate) if rate < 500 else 0.0]
    np.testing.assert_allclose(log_mean.grad[0], slope, rtol=1e-4, atol=1e-30)


def test_information_is_a_lower_bound_of_the_variance_of_the_score(mixture, seed):
    log_factor = torch.zeros(40_000, 4, 5, dtype=torch.float64, requires_grad=True)
    scaled = mixture.scaled(log_factor)
    scaled.log_prob(mixture.sample((40_000,)).double()).sum().backward()
    assert (mixture.information < log_factor.grad.var(0) * 1.05).all()
    rare = Bernoulli(log_scale=mixture.log_scale.clamp(max=0), log_library=torch.zeros(4, 1))
    log_factor.grad = None
    rare.scaled(log_factor).log_prob(rare.sample((40_000,))).sum().backward()
    torch.testing.assert_close(log_factor.grad.var(0), rare.information, rtol=0.1, atol=1e-3)


def test_more_sequencing_adds_to_what_was_not_seen():
    px = Bernoulli(log_scale=torch.zeros(1, 2), log_library=torch.zeros(1, 1))
    more = px.further(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(more.mean, torch.tensor([[1 - np.exp(-2.0), 0.0]]).float())


def test_the_family_of_a_module_is_that_of_its_main_modality():
    class Module:
        modalities: ClassVar = {"prot": Modality("prot", 3, NegativeBinomialMixture)}

    assert likelihood_of(Module()) is NegativeBinomialMixture
