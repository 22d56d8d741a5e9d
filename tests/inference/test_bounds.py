"""ELBO and IWAE against the closed form."""

import torch

from lucidvi.inference import elbo, iwae, weighted_draws


def test_elbo_is_log_px_less_the_divergence(linear_gaussian):
    target = linear_gaussian(4, "badly", "biased")
    bound, error = elbo(target, 2000)
    want = target.log_px - target.amortization_gap - target.approximation_gap
    within = (bound - want).abs() < 3 * error
    assert within.double().mean() > 0.95


def test_exact_proposal_gives_the_exact_value(linear_gaussian):
    target = linear_gaussian(4, "badly", "narrow")
    estimate = iwae(target, 30, target.posterior)
    torch.testing.assert_close(estimate.log_px, target.log_px)
    bound, error = elbo(target, 30, target.posterior)
    torch.testing.assert_close(bound, target.log_px)
    assert (error < 1e-9).all()


def test_iwae_lies_between_elbo_and_log_px(linear_gaussian):
    target = linear_gaussian(10, "well", "biased")
    few, many = (float(iwae(target, n).log_px.mean()) for n in (5, 500))
    assert float(elbo(target, 500)[0].mean()) < few < many < float(target.log_px.mean()) + 0.05


def test_passes_do_not_matter(linear_gaussian):
    target = linear_gaussian(3)
    torch.manual_seed(0)
    want = weighted_draws(target, 10)[1]
    torch.manual_seed(0)
    torch.testing.assert_close(weighted_draws(target, 10, n_per_pass=3)[1], want)
