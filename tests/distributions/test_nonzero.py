"""Draws of the counts that are not zero have the distribution of the likelihood."""

import numpy as np
import pytest
import scipy.stats
import torch

from lucidvi.distributions import LIKELIHOODS, _nonzero

COUNTS = sorted(name for name, cls in LIKELIHOODS.items() if cls.is_counts)
N = 50_000
#: Means of genes: rare, usual, at the edge between the two ways of drawing, and large.
MEANS = [0.003, 0.4, 3.9, 4.1, 60.0]


def likelihood(name, means, n=N, theta=0.5, zi=-1.0):
    cls = LIKELIHOODS[name]
    given = {"log_theta": torch.tensor(theta).log(), "zi_logits": torch.tensor(zi)}
    log_scale = torch.tensor(means).log().expand(n, -1)
    parameters = {key: given[key].expand(len(means)) for key in cls.parameters}
    return cls(log_scale=log_scale, log_library=torch.zeros(n, 1), **parameters)


def probabilities(name, means, most, **kwargs):
    """Return the probability of each count up to ``most``, ``(most + 1, n_genes)``."""
    x = torch.arange(most + 1.0)[:, None].expand(-1, len(means))
    return likelihood(name, means, n=most + 1, **kwargs).log_prob(x).exp().double().numpy()


def assert_distributed(drawn, p):
    """Chi-squared test of counts of one gene, ``(n,)``, at a level of 1e-4."""
    expected = len(drawn) * np.append(p, max(0.0, 1 - p.sum()))
    observed = np.bincount(np.minimum(drawn, len(p)).astype(int), minlength=len(p) + 1)
    _, group = np.unique(np.cumsum(expected) // 20, return_inverse=True)  # rare ones together
    observed, expected = (np.bincount(group, weights=v) for v in (observed, expected))
    assert len(expected) > 1
    assert scipy.stats.chisquare(observed, expected * len(drawn) / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("has_growth", [True, False])
@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_distributed_as_the_likelihood_says(name, has_growth, monkeypatch):
    if not has_growth:
        monkeypatch.setattr(LIKELIHOODS[name], "growth", None)
    torch.manual_seed(0)
    px = likelihood(name, MEANS)
    cells, genes, counts = px.sample_nonzero()
    assert (counts > 0).all()
    assert (torch.diff(cells) >= 0).all()
    dense = torch.zeros(N, len(MEANS))
    dense[cells, genes] = counts
    p = probabilities(name, MEANS, 1_500)
    for gene in range(len(MEANS)):
        assert_distributed(dense[:, gene].numpy(), p[:, gene])


@pytest.mark.parametrize("theta", [0.01, 20.0])
def test_other_dispersions(theta):
    torch.manual_seed(1)
    px = likelihood("nb", [0.05, 2.0, 30.0], theta=theta)
    cells, genes, counts = px.sample_nonzero()
    dense = torch.zeros(N, 3)
    dense[cells, genes] = counts
    p = probabilities("nb", [0.05, 2.0, 30.0], 12_000, theta=theta)
    for gene in range(3):
        assert_distributed(dense[:, gene].numpy(), p[:, gene])


@pytest.mark.parametrize("name", COUNTS)
def test_growth_is_the_ratio_of_probabilities(name):
    cls = LIKELIHOODS[name]
    rng = torch.Generator().manual_seed(0)
    x = torch.arange(1.0, 40.0, dtype=torch.float64)
    given = [torch.randn(39, generator=rng, dtype=torch.float64) for _ in range(3)]
    taken = given[: 1 + len(cls.parameters)]
    want = (cls.at_count(x + 1, *taken) - cls.at_count(x, *taken)).exp()
    torch.testing.assert_close(cls.growth(x, *taken), want, rtol=1e-9, atol=0)


def test_digits_that_a_draw_does_not_have_are_drawn(monkeypatch):
    """With uniforms in steps of 1/16, a probability of 0.03 is still 0.03."""
    draw = torch.rand_like

    def coarse(tensor, **kwargs):
        u = draw(tensor, **kwargs)
        return u if u.dtype == torch.float64 else (16 * u).floor() / 16

    monkeypatch.setattr(_nonzero, "RESOLUTION", 1 / 16)
    monkeypatch.setattr(torch, "rand_like", coarse)
    torch.manual_seed(0)
    px = likelihood("poisson", [0.03, 0.2])
    share = np.bincount(px.sample_nonzero()[1], minlength=2) / N
    want = 1 - np.exp([-0.03, -0.2])
    np.testing.assert_allclose(share, want, atol=5 * np.sqrt(0.2 / N))


def test_a_family_without_counts_gives_what_is_not_zero():
    cls = LIKELIHOODS["normal"]
    parameters = {name: torch.zeros(2) for name in cls.parameters}
    px = cls(log_scale=torch.zeros(3, 2), log_library=torch.zeros(3, 1), **parameters)
    torch.manual_seed(0)
    cells, genes, values = px.sample_nonzero()
    torch.manual_seed(0)
    dense = px.sample()
    assert len(values) == 6
    torch.testing.assert_close(dense[cells, genes], values)
