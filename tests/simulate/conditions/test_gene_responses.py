"""Shifts of genes' log means, against closed forms."""

import numpy as np
import torch

from lucidvi.distributions import NegativeBinomial
from lucidvi.simulate.conditions._gene_responses import PSEUDO_COUNTS, GeneShift, shrunk_log_ratios


def test_one_label_in_closed_form():
    """Of the same totals, one label's own counts give both the shared response and its own."""
    control, target = np.array([[10.0, 0, 90]]), np.array([[60.0, 40, 0]])
    a = PSEUDO_COUNTS
    shared = np.log((target + a) / (control + a))
    truth = np.log((target + a * np.exp(shared / 2)) / (control + a * np.exp(-shared / 2)))
    np.testing.assert_allclose(shrunk_log_ratios(control, target), truth)


def test_many_counts_are_believed():
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    response = np.array([[2.0, 0.5, 0.25], [1.0, 3.0, 1.0]])
    moved = shares * response / (shares * response).sum(axis=1, keepdims=True)
    found = shrunk_log_ratios(1e9 * shares, 1e8 * moved)
    np.testing.assert_allclose(found, np.log(moved / shares), atol=1e-5)


def test_a_label_without_counts_answers_as_all_do():
    """Its pseudo-counts alone are left: the ratio of the mean shares of the labels."""
    control = np.array([[1e9, 3e9, 0], [0, 0, 50]])
    target = np.array([[2e9, 2e9, 0], [0, 0, 50]])
    found = shrunk_log_ratios(control, target)
    np.testing.assert_allclose(found[1], [np.log(2), np.log(2 / 3), 0], atol=1e-6)


def test_few_counts_lie_between_their_own_ratio_and_the_shared():
    control = np.array([[1e6, 1e6], [10, 90]])
    target = np.array([[1e6, 1e6], [40, 60]])
    shared = np.log((0.5 + 0.4) / (0.5 + 0.1))
    assert shared < shrunk_log_ratios(control, target)[1, 0] < np.log(4)


def test_conditions_exchanged_change_the_sign():
    rng = np.random.default_rng(0)
    control, target = rng.poisson(4, size=(2, 3, 20)) * np.array([1, 5])[:, None, None]
    first, second = shrunk_log_ratios(control, target), shrunk_log_ratios(target, control)
    np.testing.assert_allclose(first, -second, atol=1e-12)


def test_no_counts_no_response():
    """Neither of a gene, nor of a label that has none at all."""
    found = shrunk_log_ratios(np.array([[0, 7], [0, 0]]), np.array([[0, 7], [0, 0]]))
    np.testing.assert_allclose(found, 0, atol=1e-12)


def test_log_means_are_shifted_by_the_weighted_ratios_and_sums_stay():
    rng = np.random.default_rng(0)
    log_mu = torch.as_tensor(rng.normal(size=(4, 5)))
    weights, ratios = rng.dirichlet([1, 1], size=6), rng.normal(size=(2, 5))
    nothing = torch.zeros(4, 1, dtype=log_mu.dtype)
    px = NegativeBinomial(log_scale=log_mu, log_library=nothing, log_theta=torch.zeros(5))
    px = GeneShift(weights, ratios).apply(px, slice(2, 6))
    raw = log_mu.numpy() + weights[2:] @ ratios
    truth = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    truth *= np.exp(log_mu.numpy()).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(px.mean.numpy(), truth)
