"""A simulated atlas: three types, two batches, and a reference made of it."""

import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData
from scipy import sparse

from lucidvi.atlas import Reference
from lucidvi.model import SCVI

N_GENES = 60


@pytest.fixture(scope="session")
def simulate():
    """Return a function that simulates cells of three types, with a batch effect on each gene.

    Types differ in every gene, batches too; both are the same in every call.
    """
    rng = np.random.default_rng(1)
    types = rng.normal(0, 0.7, size=(3, N_GENES))
    batches = rng.normal(0, 0.5, size=(4, N_GENES))
    base = rng.normal(0.5, 0.7, size=N_GENES)

    def make(n_cells=300, seed=0, n_batches=2, first_batch=0):
        rng = np.random.default_rng(seed)
        kind = rng.integers(3, size=n_cells)
        batch = first_batch + rng.integers(n_batches, size=n_cells)
        log_rate = base + types[kind] + batches[batch] + rng.normal(0, 0.2, (n_cells, 1))
        counts = rng.poisson(np.exp(log_rate)).astype(np.float32)
        obs = pd.DataFrame(
            {
                "cell_type": pd.Categorical(np.array(["B", "NK", "T"])[kind]),
                "batch": pd.Categorical([f"lane{b}" for b in batch]),
            },
            index=[f"s{seed}_cell{i}" for i in range(n_cells)],
        )
        var = pd.DataFrame(index=[f"Gene{i}" for i in range(N_GENES)])
        return AnnData(sparse.csr_matrix(counts), obs=obs, var=var)

    return make


@pytest.fixture(scope="session")
def model(simulate):
    """Return a trained model that no test changes."""
    scvi.settings.seed = 0
    adata = simulate()
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=32, n_latent=4, gene_likelihood="nb")
    model.train(max_epochs=60, batch_size=64, train_size=0.9)
    return model


@pytest.fixture(scope="session")
def reference(model):
    """Return a reference that no test changes."""
    return Reference.from_model(model)


@pytest.fixture(scope="session")
def query(simulate):
    """Return cells of the known batches that the reference has not seen; no test changes it."""
    return simulate(120, seed=7)
