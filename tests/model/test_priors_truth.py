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


@pytest.mark.slow
def test_labels_identify_the_latent_dimensions():
    """Mean correlation of the dimensions with the true ones, over two data sets."""
    recovery: dict[str, list[float]] = {"standard_normal": [], "conditional": []}
    for seed in (0, 1):
        adata, z = simulate(2000, spread=(0.1, 1.5), seed=seed)
        for prior, found in recovery.items():
            latent = train(adata, prior, max_epochs=60).get_latent_representation()
            found.append(mean_correlation(latent, z))
    assert np.mean(recovery["conditional"]) > np.mean(recovery["standard_normal"]) + 0.03
    assert np.mean(recovery["conditional"]) > 0.85


def mean_correlation(latent, z):
    """Mean absolute correlation of the dimensions, in the order that makes it largest."""
    correlation = np.abs(np.corrcoef(latent.T, z.T)[:N_LATENT, N_LATENT:])
    rows, columns = linear_sum_assignment(-correlation)
    return correlation[rows, columns].mean()
