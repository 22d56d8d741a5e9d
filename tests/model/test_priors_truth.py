"""Priors against data whose latent states are known."""

import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from lucidvi.model import SCVI

N_LEVELS, N_LATENT, N_GENES = 8, 2, 40


def simulate(n_cells, spread, depth=1000, seed=0):
    """Counts of cells in groups, each a normal in the latent space, through a bent map."""
    rng = np.random.default_rng(seed)
    group = rng.integers(N_LEVELS, size=n_cells)
    loc = rng.uniform(-2, 2, (N_LEVELS, N_LATENT))
    scale = rng.uniform(*spread, (N_LEVELS, N_LATENT))
    z = loc[group] + scale[group] * rng.normal(size=(n_cells, N_LATENT))
    bent = z @ np.linalg.qr(rng.normal(size=(N_LATENT, N_LATENT)))[0]
    bent = np.where(bent > 0, bent, 0.3 * bent)
    logits = bent @ rng.normal(size=(N_LATENT, N_GENES)) * 0.7 + rng.normal(size=N_GENES)
    rate = np.exp(logits)
    rate *= depth / rate.sum(axis=1, keepdims=True)
    obs = pd.DataFrame({"group": group.astype(str)}, index=[f"cell{i}" for i in range(n_cells)])
    return AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs), z


def train(adata, prior, max_epochs=40):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, labels_key="group")
    model = SCVI(adata, n_hidden=64, n_latent=N_LATENT, gene_likelihood="poisson", prior=prior)
    model.train(max_epochs=max_epochs, train_size=0.9, plan_kwargs={"kl_warmup": 0.1})
    return model


@pytest.mark.slow
def test_clusters_are_better_explained_by_mixtures():
    """Held-out log p(x), whose gain is at most what knowing the prior is worth."""
    adata, _ = simulate(800, spread=(0.02, 0.1))
    log_px = {}
    for prior in ("standard_normal", "mixture", "vamp"):
        model = train(adata, prior)
        log_px[prior] = model.get_marginal_ll(
            indices=model.validation_indices, n_mc_samples=320, method="ais"
        )
    assert log_px["mixture"] > log_px["standard_normal"] + 0.5
    assert log_px["vamp"] > log_px["standard_normal"] + 0.5


# -- which axes ---------------------------------------------------------------------------------


def simulate_sources(seed, n_conditions=40, n_sources=5, n_genes=100):
    """Counts from independent sources, whose variances depend on the condition alone.

    Sources have unit variance over all cells, and are turned before they are bent, so that but for
    the condition no axes are better than others.
    """
    rng = np.random.default_rng(seed)
    condition = np.repeat(np.arange(n_conditions), 60)
    scale = rng.uniform(0.5, 3, (n_conditions, n_sources))[condition]
    sources = scale * rng.normal(size=scale.shape)
    sources /= sources.std(axis=0)
    mixed = sources
    for _ in range(2):
        mixed = mixed @ np.linalg.qr(rng.normal(size=(n_sources, n_sources)))[0]
        mixed = np.where(mixed > 0, mixed, 0.2 * mixed)
        mixed = (mixed - mixed.mean(axis=0)) / mixed.std(axis=0)
    loadings = np.linalg.qr(rng.normal(size=(n_genes, n_sources)))[0].T * np.sqrt(n_genes)
    rate = np.exp(0.5 * mixed @ loadings + rng.normal(size=n_genes))
    rate *= 4000 / rate.sum(axis=1, keepdims=True)
    counts = rng.poisson(rate * rng.gamma(10, 0.1, rate.shape)).astype(np.float32)
    groups = {"condition": condition.astype(str), "other": rng.permutation(condition).astype(str)}
    obs = pd.DataFrame(groups, index=[f"cell{i}" for i in range(len(counts))])
    return AnnData(sparse.csr_matrix(counts), obs=obs), sources


def recovery(adata, sources, labels="condition", plan=None, **kwargs):
    """MCC of held-out cells, and R² of the sources given all axes."""
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, labels_key=labels)
    model = SCVI(adata, n_hidden=64, n_latent=5, gene_likelihood="nb", **kwargs)
    model.train(train_size=0.8, plan_kwargs=plan)
    cells = model.validation_indices
    latent, sources = model.get_latent_representation(indices=cells), sources[cells]
    x = np.column_stack([latent, np.ones(len(latent))])
    rest = sources - x @ np.linalg.lstsq(x, sources, rcond=None)[0]
    return mean_correlation(latent, sources), 1 - rest.var() / sources.var()


@pytest.mark.slow
def test_conditions_identify_the_sources():
    """The standard prior knows as much of the sources, but mixes them: means over data sets."""
    standard, conditional = [], []
    for seed in (0, 1, 2):
        adata, sources = simulate_sources(seed)
        standard.append(recovery(adata, sources))
        conditional.append(recovery(adata, sources, prior="conditional"))
    (mcc, known), (own_mcc, own_known) = np.mean(standard, axis=0), np.mean(conditional, axis=0)
    assert own_mcc > 0.85
    assert own_mcc > mcc + 0.15
    assert abs(own_known - known) < 0.02


@pytest.mark.slow
def test_it_is_the_condition_that_identifies_them():
    """Neither does one that says nothing, nor a training that leaves the axes where they are."""
    adata, sources = simulate_sources(0)
    assert recovery(adata, sources, "other", prior="conditional")[0] < 0.82
    assert recovery(adata, sources, plan={"align_axes": None}, prior="conditional")[0] < 0.82


def mean_correlation(latent, sources):
    """Mean absolute correlation of axes and sources, matched one to one."""
    n = sources.shape[1]
    correlation = np.abs(np.corrcoef(latent.T, sources.T)[:n, n:])
    rows, columns = linear_sum_assignment(-correlation)
    return correlation[rows, columns].mean()
