"""Counting the dimensions in use."""

import numpy as np
import pytest
import scvi
from anndata import AnnData
from scipy import sparse

from lucidvi import audit
from lucidvi.audit.checks import collapse
from lucidvi.model import SCVI


def count(worth, own=None, n_cells=400, noise=1.0, **kwargs):
    """Judge directions of a known worth."""
    worth, rng = np.asarray(worth, dtype=float), np.random.default_rng(0)
    k = len(worth)
    loc = rng.normal(size=(1000, k)) * np.where(worth > 0, 0.9, 0.0)
    scale = np.where(worth > 0, np.sqrt(1 - 0.81), 1.0) * np.ones_like(loc)
    losses = worth + noise * rng.normal(size=(n_cells, k))
    own = losses if own is None else np.asarray(own) + noise * rng.normal(size=losses.shape)
    return collapse(loc, scale, np.diag(worth), np.eye(k), losses, own, **kwargs)


@pytest.mark.parametrize(
    ("worth", "active", "verdict", "suggested"),
    [
        ([50, 40, 30], 3, "ok", 6),
        ([50, 40, 30, 2, 1, 0.3], 3, "ok", 5),
        ([50, 40] + [0] * 28, 2, "warn", 4),
        ([50, 40, 2.5] + [0] * 28, 3, "warn", 5),
        ([0.4, 0.2, 0.1], 0, "fail", 2),
        ([0, 0, 0], 0, "fail", 2),
    ],
)
def test_directions_count_by_their_worth(worth, active, verdict, suggested):
    found = count(worth)
    assert (found.active_units, found.verdict) == (active, verdict)
    assert found.suggested_n_latent == suggested
    assert bool(found.cure) == (verdict != "ok")


def test_what_chance_could_give_does_not_count():
    assert count([3.0, 3.0], n_cells=20, noise=0.5).active_units == 2
    assert count([3.0, 3.0], n_cells=20, noise=50.0).active_units == 0


def test_what_the_others_tell_does_not_count_twice():
    found = count([60, 50, 9, 5, 0], own=[60, 50, 0.8, 0.1, 0])
    assert (found.active_units, found.used_units) == (2, 4)
    assert found.suggested_n_latent == 5
    np.testing.assert_allclose(found.worth_beyond, [60, 50, 0.8, 0.1, 0], atol=0.2)


def test_numbers():
    found = count([40, 10, 0], noise=1e-9)
    np.testing.assert_allclose(found.worth, [40, 10, 0], atol=1e-6)
    np.testing.assert_allclose(found.kl[2], 0, atol=1e-12)
    assert found.kl[0] == pytest.approx(-np.log(np.sqrt(0.19)), rel=0.05)
    np.testing.assert_allclose(found.variance_share, [0.8, 0.2, 0], atol=0.02)
    assert found.variance_units == 2
    total = found.kl.sum()
    assert found.mutual_information + found.aggregate_kl == pytest.approx(total)
    assert found.mutual_information_upper + found.aggregate_kl_lower == pytest.approx(total)


def linear_cells(n_dimensions, n_cells=1500, n_genes=200):
    """Cells of a log-linear model with negative binomial counts."""
    rng = np.random.default_rng(n_dimensions)
    effect = rng.normal(size=(n_dimensions, n_genes)) / np.sqrt(n_dimensions)
    logits = rng.normal(size=(n_cells, n_dimensions)) @ effect + rng.normal(size=n_genes)
    rate = 2000 * np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    counts = rng.poisson(rate * rng.gamma(3, 1 / 3, rate.shape)).astype(np.float32)
    return AnnData(sparse.csr_matrix(counts))


@pytest.mark.slow
@pytest.mark.parametrize(("n_dimensions", "n_latent"), [(4, 30), (5, 50)])
def test_dimension_of_an_over_wide_model(n_dimensions, n_latent):
    adata = linear_cells(n_dimensions)
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=n_latent, gene_likelihood="nb")
    model.train(enable_progress_bar=False)
    found = audit.run(model, checks=["collapse"])["collapse"]
    assert abs(found.active_units - n_dimensions) <= 1
    assert found.verdict == "warn"
    assert f"n_latent={found.suggested_n_latent}" in found.cure
