"""Counts of cells whose latent dimension, batches, types and likelihood are known."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi
from scipy import sparse

from lucidvi.model import SCVI

KEYS = {"batch_key": "batch", "labels_key": "label"}


@pytest.fixture(scope="session")
def simulate():
    """Return a function that draws cells of four types from a nonlinear decoder.

    ``inflation`` sets counts to zero, ``batch`` is the size of a batch effect, ``spread`` the
    standard deviation of the log depth, ``dispersion`` theta of all or of each batch.
    """

    def make(
        n_dimensions=5,
        n_cells=1200,
        n_genes=150,
        depth=1200,
        inflation=0.0,
        batch=0.0,
        spread=0.3,
        dispersion=3.0,
        seed=0,
    ):
        rng = np.random.default_rng(seed)
        label, batches = rng.integers(4, size=n_cells), rng.integers(3, size=n_cells)
        centres = 1.2 * rng.normal(size=(4, n_dimensions))
        z = centres[label] + 0.6 * rng.normal(size=(n_cells, n_dimensions))
        first = rng.normal(size=(n_dimensions, 32)) / np.sqrt(n_dimensions)
        hidden = np.tanh(z @ first + 0.3 * rng.normal(size=32))
        logits = 0.35 * hidden @ rng.normal(size=(32, n_genes)) + rng.normal(size=n_genes)
        logits += batch * rng.normal(size=(3, n_genes))[batches]
        rate = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rate *= depth * rng.lognormal(0, spread, (n_cells, 1))
        theta = np.broadcast_to(dispersion, 3)[batches][:, None] * np.ones((1, n_genes))
        counts = rng.poisson(rate * rng.gamma(theta, 1 / theta)).astype(np.float32)
        counts[rng.random(counts.shape) < inflation] = 0
        counts[counts.sum(axis=1) == 0, 0] = 1
        obs = pd.DataFrame(
            {
                "batch": pd.Categorical(batches.astype(str)),
                "label": pd.Categorical(label.astype(str)),
                "one": 1.0,
            },
            index=[f"cell{i}" for i in range(n_cells)],
        )
        var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
        return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)

    return make


@pytest.fixture(scope="session")
def trained():
    """Return a function that trains a model on such cells."""

    def train(adata, setup=KEYS, epochs=None, **kwargs):
        scvi.settings.seed = 0
        SCVI.setup_anndata(adata, **setup)
        model = SCVI(adata, **({"gene_likelihood": "nb"} | kwargs))
        model.train(max_epochs=epochs, enable_progress_bar=False)
        return model

    return train


@pytest.fixture(scope="session")
def healthy(simulate, trained):
    """Return a well-trained model of cells of two batches, which no test changes."""
    return trained(simulate(batch=0.3))
