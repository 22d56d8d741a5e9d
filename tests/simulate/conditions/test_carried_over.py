"""Counts that are carried over have the distribution that they are carried over to."""

import numpy as np
import pytest
import torch
from scipy import stats

from lucidvi.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from lucidvi.simulate.conditions._carried_over import carried_over

N = 20_000
MEANS = torch.tensor([0.3, 4.0, 2.0, 1.0])
TARGETS = torch.tensor([2.5, 1.0, 2.0, 30.0])
THETA = 1.7


def likelihood(kind, mean, zi=None):
    shape = {"log_theta": torch.tensor(THETA).log()} if kind is not Poisson else {}
    if zi is not None:
        shape["zi_logits"] = torch.logit(torch.tensor(zi)).expand(N, len(mean))
    return kind(log_scale=mean.log().expand(N, -1), log_library=torch.zeros(N, 1), **shape)


def quantiles(kind):
    if kind is Poisson:
        return stats.poisson(TARGETS.numpy())
    return stats.nbinom(THETA, THETA / (THETA + TARGETS.numpy()))


@pytest.mark.parametrize("kind", [NegativeBinomial, Poisson])
def test_distribution(kind):
    """Shares of counts up to 0, 1, 2, 5, 20, against scipy, within four standard errors."""
    before, after = likelihood(kind, MEANS), likelihood(kind, TARGETS)
    x = carried_over(before.sample(), before, after).numpy()
    for count in (0, 1, 2, 5, 20):
        truth = quantiles(kind).cdf(count)
        error = 4 * np.sqrt(truth * (1 - truth) / N) + 1e-3
        assert (abs((x <= count).mean(axis=0) - truth) < error).all(), count


def test_what_does_not_change_is_kept():
    before = likelihood(NegativeBinomial, MEANS)
    x = before.sample()
    assert torch.equal(carried_over(x, before, before), x)
    after = likelihood(NegativeBinomial, TARGETS)
    changed = carried_over(x, before, after)
    assert (changed[:, 0] >= x[:, 0]).all()
    assert (changed[:, 1] <= x[:, 1]).all()
    assert torch.equal(changed[:, 2], x[:, 2])


def test_a_cell_with_more_than_expected_keeps_more():
    before, after = likelihood(NegativeBinomial, MEANS), likelihood(NegativeBinomial, TARGETS)
    x = before.sample()
    changed = carried_over(x, before, after)
    # E[x' - x given x] = (r - 1) mu (theta + x) / (theta + mu)
    for count in (0, 1, 2):
        added = (changed - x)[x[:, 3] == count, 3]
        truth = 29 * (THETA + count) / (THETA + 1)
        assert abs(added.mean() - truth) < 4 * added.std() / np.sqrt(len(added))


def test_mean_with_inflated_zeros():
    """Also where the inflation changes: less of it means that more was to be seen."""
    before = likelihood(ZeroInflatedNegativeBinomial, MEANS, 0.5)
    after = likelihood(ZeroInflatedNegativeBinomial, TARGETS, 0.2)
    x = carried_over(before.sample(), before, after)
    error = 4 * x.std(dim=0) / np.sqrt(N)
    assert (abs(x.mean(dim=0) - 0.8 * TARGETS) < error).all()
