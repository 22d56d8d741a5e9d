"""One contract that every likelihood passes, against references computed elsewhere."""

import mpmath
import numpy as np
import pytest
import scipy.stats
import scvi.distributions
import torch
from scvi.distributions._utils import DistributionConcatenator

from lucidvi.distributions import FAMILIES, LIKELIHOODS, Normal, adopt, candidates
from lucidvi.errors import ModelTypeError

COUNT_LIKELIHOODS = {name: cls for name, cls in LIKELIHOODS.items() if cls.is_counts}
mpmath.mp.dps = 50


def mp_log_prob(name, x, log_mu, log_theta, zi_logit):
    """Log probability of one count, to fifty digits, from the densities' definitions."""
    x, mu, theta = mpmath.mpf(x), mpmath.exp(log_mu), mpmath.exp(log_theta)
    if name == "poisson":
        return x * mpmath.log(mu) - mu - mpmath.loggamma(x + 1)
    nb = (
        mpmath.loggamma(x + theta)
        - mpmath.loggamma(theta)
        - mpmath.loggamma(x + 1)
        + x * mpmath.log(mu / (theta + mu))
        + theta * mpmath.log(theta / (theta + mu))
    )
    if name == "nb":
        return nb
    pi = 1 / (1 + mpmath.exp(-mpmath.mpf(zi_logit)))
    return mpmath.log(pi + (1 - pi) * mpmath.exp(nb)) if x == 0 else mpmath.log1p(-pi) + nb


def make(name, log_scale, log_library, log_theta=None, zi_logits=None):
    given = {
        "log_theta": log_theta,
        "zi_logits": zi_logits,
        "ratio_logits": zi_logits,
        "background_logits": zi_logits,
    }
    cls = FAMILIES[name]
    kwargs = {p: given[p] for p in cls.parameters}
    return cls(log_scale=log_scale, log_library=log_library, **kwargs)


def random_parameters(n_cells=40, n_genes=25, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    x = torch.poisson(torch.rand(n_cells, n_genes, generator=generator) * 3, generator=generator)
    x[:, 1] = 0
    return {
        "logits": draw(n_cells, n_genes),
        "log_library": 3 + draw(n_cells, 1),
        "log_theta": draw(n_genes),
        "zi_logits": draw(n_cells, n_genes),
        "ratio_logits": draw(n_cells, n_genes),
        "background_logits": draw(n_cells, n_genes),
    }, x.to(dtype)


@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
@pytest.mark.parametrize("theta", [1e-4, 1e-2, 1.0, 30.0, 1e4, 1e6])
@pytest.mark.parametrize("mu", [1e-8, 1e-3, 1.0, 1e3, 1e6])
def test_value_at_extremes(name, theta, mu):
    counts = [0, 1, 2, 7, 100, 10_000, 1_000_000]
    x = torch.tensor([counts], dtype=torch.float32)
    log_scale = torch.full((1, len(counts)), float(np.log(mu)), dtype=torch.float32)
    log_theta = torch.tensor(float(np.log(theta)), dtype=torch.float32).expand(len(counts))
    zi_logits = torch.full((1, len(counts)), -1.5)
    got = make(name, log_scale, torch.zeros(1, 1), log_theta, zi_logits).log_prob(x)[0]
    assert torch.isfinite(got).all()
    for count, value in zip(counts, got.tolist(), strict=True):
        # The reference sees the same float32 parameters.
        arguments = (float(log_scale[0, 0]), float(log_theta[0]), -1.5)
        want = float(mp_log_prob(name, count, *arguments))
        assert value == pytest.approx(want, rel=2e-6, abs=1e-6), count


@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
def test_agrees_with_scipy(name):
    parameters, x = random_parameters(dtype=torch.float64)
    likelihood = make(
        name,
        parameters["logits"].log_softmax(-1),
        parameters["log_library"],
        parameters["log_theta"],
        parameters["zi_logits"],
    )
    mu = (parameters["logits"].softmax(-1) * parameters["log_library"].exp()).numpy()
    theta = parameters["log_theta"].exp().numpy()
    pi = torch.sigmoid(parameters["zi_logits"]).numpy()
    if name == "poisson":
        want = scipy.stats.poisson.logpmf(x, mu)
    else:
        want = scipy.stats.nbinom.logpmf(x, theta, theta / (theta + mu))
    if name == "zinb":
        at_zero = np.log(pi + (1 - pi) * np.exp(want))
        want = np.where(x == 0, at_zero, np.log1p(-pi) + want)
    np.testing.assert_allclose(likelihood.log_prob(x), want, rtol=1e-10)
    np.testing.assert_allclose(likelihood.log_likelihood(x), want.sum(-1), rtol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_against_finite_differences(name):
    parameters, x = random_parameters(n_cells=3, n_genes=4, dtype=torch.float64)
    x = x.clamp(max=1) if name == "bernoulli" else x
    names = ["logits", "log_library", *FAMILIES[name].parameters]
    tensors = [parameters[n].requires_grad_() for n in names]

    def log_likelihood(*values):
        return FAMILIES[name](**dict(zip(names, values, strict=True))).log_likelihood(x)

    assert torch.autograd.gradcheck(log_likelihood, tensors)


@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
@pytest.mark.parametrize("theta", [1e-4, 1.0, 1e6])
@pytest.mark.parametrize("mu", [1e-8, 1.0, 1e6])
def test_gradient_at_extremes_is_finite_and_right(name, theta, mu):
    """Against central differences of the fifty-digit reference."""
    x = torch.tensor([[0.0, 1.0, 1e3, 1e6]])
    at = {"log_mu": float(np.float32(np.log(mu))), "log_theta": float(np.float32(np.log(theta)))}
    log_scale = torch.full((1, 4), at["log_mu"], requires_grad=True)
    log_theta = torch.full((1, 4), at["log_theta"], requires_grad=True)
    zi_logits = torch.full((1, 4), 0.3, requires_grad=True)
    likelihood = make(name, log_scale, torch.zeros(1, 1), log_theta, zi_logits)
    likelihood.log_likelihood(x).sum().backward()
    step = mpmath.mpf("1e-15")

    def slope(count, which):
        up, down = dict(at), dict(at)
        up[which], down[which] = at[which] + step, at[which] - step
        zi = float(np.float32(0.3))
        return float(
            (
                mp_log_prob(name, count, *up.values(), zi)
                - mp_log_prob(name, count, *down.values(), zi)
            )
            / (2 * step)
        )

    checked = {"log_mu": log_scale.grad}
    if name != "poisson":
        checked["log_theta"] = log_theta.grad
    for which, gradient in checked.items():
        for count, value in zip(x[0].tolist(), gradient[0].tolist(), strict=True):
            assert value == pytest.approx(slope(count, which), rel=1e-4, abs=1e-5), (which, count)


@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
def test_moments_of_samples(name, seed):
    n_draws = 40_000
    parameters, _ = random_parameters(n_cells=4, n_genes=6)
    parameters["log_theta"] = parameters["log_theta"] + 1.5
    names = ["logits", "log_library", *LIKELIHOODS[name].parameters]
    likelihood = LIKELIHOODS[name](**{n: parameters[n] for n in names})
    draws = likelihood.sample((n_draws,)).double()
    assert draws.shape == (n_draws, 4, 6)
    assert torch.equal(draws, draws.round())
    error = (likelihood.variance.double() / n_draws).sqrt()
    assert ((draws.mean(0) - likelihood.mean).abs() < 4.5 * error).all()
    # The relative standard error of a variance is sqrt((kurtosis - 1) / n).
    centered = draws - draws.mean(0)
    kurtosis = centered.pow(4).mean(0) / centered.pow(2).mean(0).square()
    relative_error = ((kurtosis - 1) / n_draws).sqrt()
    assert ((draws.var(0) / likelihood.variance - 1).abs() < 5 * relative_error).all()


@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
def test_samples_follow_the_log_prob(name, seed):
    """Chi-square of drawn counts against the probabilities that log_prob states."""
    n_draws, top = 50_000, 12
    likelihood = make(
        name, torch.zeros(1, 1), torch.full((1, 1), 1.2), torch.full((1,), 0.5), torch.zeros(1, 1)
    )
    drawn = likelihood.sample((n_draws,)).clamp(max=top).flatten().long()
    observed = torch.bincount(drawn, minlength=top + 1).double()
    values = torch.arange(top, dtype=torch.float32)[:, None]
    below = likelihood.log_prob(values).double().exp().flatten()
    expected = torch.cat([below, 1 - below.sum(0, keepdim=True)]) * n_draws
    assert scipy.stats.chisquare(observed, expected).pvalue > 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_log_prob_sums_over_genes_and_broadcasts(name):
    parameters, x = random_parameters(n_cells=5, n_genes=7)
    names = ["log_library", *FAMILIES[name].parameters]
    given = {n: parameters[n] for n in names}
    logits = torch.stack([parameters["logits"], parameters["logits"] + 0.3, -parameters["logits"]])
    stacked = FAMILIES[name](logits=logits, **given)
    assert stacked.log_prob(x).shape == (3, 5, 7)
    torch.testing.assert_close(stacked.log_likelihood(x), stacked.log_prob(x).sum(-1))
    for layer, one in zip(stacked.log_prob(x), logits, strict=True):
        torch.testing.assert_close(layer, FAMILIES[name](logits=one, **given).log_prob(x))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_is_a_likelihood_of_scvi_tools_with_the_same_numbers(name):
    parameters, x = random_parameters()
    names = ["logits", "log_library", *LIKELIHOODS[name].parameters]
    ours = LIKELIHOODS[name](**{n: parameters[n] for n in names})
    rho = parameters["logits"].softmax(-1)
    mu, theta = rho * parameters["log_library"].exp(), parameters["log_theta"].exp()
    theirs = {
        "nb": lambda: scvi.distributions.NegativeBinomial(mu=mu, theta=theta, scale=rho),
        "zinb": lambda: scvi.distributions.ZeroInflatedNegativeBinomial(
            mu=mu, theta=theta, zi_logits=parameters["zi_logits"], scale=rho
        ),
        "poisson": lambda: scvi.distributions.Poisson(mu, scale=rho),
        "normal": lambda: scvi.distributions.Normal(mu, theta, normal_mu=rho),
    }[name]()
    assert isinstance(ours, type(theirs))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)
    for key in ("mu", "scale"):
        torch.testing.assert_close(ours.get_normalized(key), theirs.get_normalized(key))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-4, atol=1e-5)


def test_zero_inflation_without_inflation_is_the_negative_binomial():
    parameters, x = random_parameters()
    given = {n: parameters[n] for n in ("logits", "log_library", "log_theta")}
    zi_logits = torch.full_like(parameters["logits"], -80.0)
    zinb = LIKELIHOODS["zinb"](**given, zi_logits=zi_logits)
    torch.testing.assert_close(zinb.log_prob(x), LIKELIHOODS["nb"](**given).log_prob(x))


def test_clamps_hold_what_would_overflow():
    """theta = exp(50) and mu = exp(200) are not float32 numbers; the likelihood stays one."""
    x = torch.tensor([[0.0, 3.0]])
    for log_theta in (-50.0, 50.0):
        for log_library in (-200.0, 200.0):
            for name in COUNT_LIKELIHOODS:
                likelihood = make(
                    name,
                    torch.zeros(1, 2),
                    torch.full((1, 1), log_library),
                    torch.full((2,), log_theta),
                    torch.zeros(1, 2),
                )
                assert torch.isfinite(likelihood.log_prob(x)).all(), (name, log_theta)
                assert torch.isfinite(likelihood.sample()).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_parameters_are_named(name):
    logits, log_library = torch.zeros(2, 3), torch.zeros(2, 1)
    with pytest.raises(ValueError, match="log_library"):
        FAMILIES[name](logits)
    given = {p: torch.zeros(3) for p in FAMILIES[name].parameters}
    with pytest.raises(ValueError, match="exactly one of `logits` and `log_scale`"):
        FAMILIES[name](logits, log_library, log_scale=logits, **given)
    for missing in FAMILIES[name].parameters:
        given = {p: torch.zeros(3) for p in FAMILIES[name].parameters if p != missing}
        with pytest.raises(ValueError, match=missing):
            FAMILIES[name](logits, log_library, **given)


def test_unknown_normalized_key():
    with pytest.raises(ValueError, match="'rate'"):
        LIKELIHOODS["nb"](
            torch.zeros(2, 3), torch.zeros(2, 1), log_theta=torch.zeros(3)
        ).get_normalized("rate")


def test_normal_is_the_density_of_scipy():
    parameters, x = random_parameters(dtype=torch.float64)
    names = ["logits", "log_library", "log_theta"]
    mu = parameters["logits"].softmax(-1) * parameters["log_library"].exp()
    want = scipy.stats.norm.logpdf(x, mu, parameters["log_theta"].exp())
    got = Normal(**{n: parameters[n] for n in names}).log_prob(x)
    np.testing.assert_allclose(got, want, rtol=1e-10)


# -- what returns another likelihood is pure ---------------------------------------------------


def whole(name, n_cells=5, n_genes=7):
    parameters, x = random_parameters(n_cells, n_genes, dtype=torch.float64)
    names = ("logits", "log_library", *FAMILIES[name].parameters)
    return FAMILIES[name](**{n: parameters[n] for n in names}), x


@pytest.mark.parametrize("name", FAMILIES)
def test_scaled(name):
    px, x = whole(name)
    before = px.mean.clone()
    for factor in (torch.tensor([[0.3], [1.0], [2.0], [0.5], [4.0]]).double(), 2.5):
        log_factor = np.log(factor) if isinstance(factor, float) else factor.log()
        scaled = px.scaled(log_factor)
        assert type(scaled) is type(px)
        torch.testing.assert_close(scaled.mu, px.mu * factor)
        torch.testing.assert_close(scaled.get_normalized("scale"), px.get_normalized("scale"))
        torch.testing.assert_close(scaled.log_likelihood(x), scaled.log_prob(x).sum(-1))
    assert torch.equal(px.mean, before)


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_shifted(name, renormalize):
    """As if shifts were added to the logits, before or after they were normalized."""
    px, x = whole(name)
    shift = torch.linspace(-1, 2, 7, dtype=torch.float64)
    shifted = px.scaled(0.3).shifted(shift, renormalize)
    assert type(shifted) is type(px)
    scale = px.get_normalized("scale") * shift.exp()
    scale = scale / scale.sum(-1, keepdim=True) if renormalize else scale
    torch.testing.assert_close(shifted.get_normalized("scale"), scale)
    torch.testing.assert_close(shifted.mu, scale * (px.log_library + 0.3).exp())
    torch.testing.assert_close(shifted.log_likelihood(x), shifted.log_prob(x).sum(-1))
    if name == "zinb":
        torch.testing.assert_close(shifted.mean, shifted.mu, rtol=1e-10, atol=0)
    unshifted = px.shifted(torch.zeros(7).double(), renormalize)
    torch.testing.assert_close(unshifted.mu, px.mu)


@pytest.mark.parametrize("name", FAMILIES)
def test_of_features(name):
    px, x = whole(name)
    mask = torch.tensor([True, False, True, True, False, True, False])
    some = px.of_features(mask)
    assert some.batch_shape == (5, 4)
    torch.testing.assert_close(some.log_prob(x[:, mask]), px.log_prob(x)[:, mask])
    torch.testing.assert_close(some.log_likelihood(x[:, mask]), px.log_prob(x)[:, mask].sum(-1))
    again = px.of_features(mask, renormalize=True)
    torch.testing.assert_close(
        again.get_normalized("scale").sum(-1), torch.ones(5, dtype=torch.float64)
    )
    share = px.get_normalized("scale")[:, mask].sum(-1, keepdim=True)
    torch.testing.assert_close(again.mu, px.mu[:, mask] / share)
    assert again.scaled(1.0).of_features(torch.arange(4) > 1).batch_shape == (5, 2)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_adopt(name):
    """Of scvi-tools' distributions and of its own, the numbers and the family stay."""
    px, x = whole(name)
    names = {"log_theta": "theta", "zi_logits": "zi_logits"}
    theirs = type(px).adopts(
        **{"poisson": {"rate": px.mu}, "normal": {"mu": px.mu}}.get(name, {"mu": px.mu}),
        **{
            {"normal": "scale"}.get(name, names[n]): (
                px.linear(n) if names[n] == "theta" else px.parameter(n)
            )
            for n in px.parameters
        },
        **{"normal_mu" if name == "normal" else "scale": px.get_normalized("scale")},
    )
    for given in (px, theirs):
        adopted = adopt(given)
        assert type(adopted) is type(px)
        for key in ("mu", "scale"):
            torch.testing.assert_close(adopted.get_normalized(key), px.get_normalized(key))
        torch.testing.assert_close(adopted.log_prob(x), px.log_prob(x))
        torch.testing.assert_close(adopted.log_library, px.log_library)


def test_what_cannot_be_adopted():
    with pytest.raises(ModelTypeError, match="Bernoulli"):
        adopt(torch.distributions.Bernoulli(torch.tensor(0.5)))


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_can_be_joined_as_scvi_tools_does(name):
    """It takes apart and puts together distributions by the names of ``arg_constraints``."""
    px, x = whole(name)
    store = DistributionConcatenator()
    store.store_distribution(px)
    store.store_distribution(px)
    joined = store.get_concatenated_distributions()
    torch.testing.assert_close(joined.log_prob(torch.cat([x, x]))[:5], px.log_prob(x))


@pytest.mark.parametrize("name", FAMILIES)
def test_with_mean(name):
    log_mean = -torch.rand(5, 7) - 0.1  # that of a Bernoulli is below one
    parameters, _ = random_parameters(5, 7)
    given = {n: parameters[n] for n in FAMILIES[name].parameters}
    px = FAMILIES[name].with_mean(log_mean, **given)
    torch.testing.assert_close(px.mean, log_mean.exp())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_information_is_that_of_the_log_mean(name):
    """The variance of the score, over draws; of inflated counts, before the inflation."""
    if name == "zinb":
        px, _ = whole("zinb")
        parameters = {"log_theta": px.log_theta}
        before = LIKELIHOODS["nb"](
            log_scale=px.log_mean, log_library=px.log_library * 0, **parameters
        )
        torch.testing.assert_close(px.information, before.information)
        return
    px, _ = whole(name, n_cells=2, n_genes=3)
    log_mean = px.log_mean.detach().expand(60_000, 2, 3).clone().requires_grad_()
    given = {n: px.parameter(n) for n in px.parameters}
    many = type(px)(log_scale=log_mean, log_library=torch.zeros_like(log_mean[..., :1]), **given)
    many.log_prob(many.sample()).sum().backward()
    torch.testing.assert_close(log_mean.grad.var(0), px.information, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_limited_draws(name, seed):
    px = make(
        name, torch.zeros(50, 2), torch.full((50, 1), 9.0), torch.zeros(2), torch.zeros(50, 2)
    )
    limited = px.limited(10.0)
    if name == "poisson":
        assert limited.sample().mean() < 15
    else:
        assert limited is px


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_tables_of_a_family_are_complete(name):
    family = LIKELIHOODS[name]
    assert family.family == name
    assert set(family.read) == set(family.parameters)
    assert family.without_state in LIKELIHOODS
    assert set(family.names("gene", "cell")) == set(family.parameters)
    for question in family.questions + family.questions_by_batch:
        assert {question.better, question.than} <= set(candidates())
    if not family.is_counts:
        with pytest.raises(ModelTypeError, match=name):
            whole(name)[0].further(torch.ones(5, 7), torch.ones(5, 1))


def test_unknown_parameters_are_named():
    with pytest.raises(ValueError, match="`log_tail` is no parameter of NegativeBinomial"):
        LIKELIHOODS["nb"](
            torch.zeros(2, 3), torch.zeros(2, 1), log_theta=torch.zeros(3), log_tail=torch.zeros(3)
        )
