"""Small data sets with everything a model can be asked to use."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse


@pytest.fixture(scope="session")
def make_adata():
    """Return a function that simulates counts with batches, labels and covariates."""

    def make(n_cells=60, n_genes=20, n_batches=3, seed=0):
        rng = np.random.default_rng(seed)
        group = rng.integers(2, size=n_cells)
        rate = rng.gamma(1.0, 2.0, size=(2, n_genes))[group] * rng.gamma(4.0, 0.25, (n_cells, 1))
        counts = rng.poisson(rate).astype(np.float32)
        counts[:, 0] += 1
        obs = pd.DataFrame(
            {
                "batch": pd.Categorical(np.arange(n_cells) % n_batches).rename_categories(str),
                "label": pd.Categorical(np.array(["T", "B"])[group]),
                "donor": pd.Categorical(np.arange(n_cells) % 4).rename_categories(str),
                "site": pd.Categorical(np.array(["a", "b"])[np.arange(n_cells) // 7 % 2]),
                "age": rng.normal(size=n_cells),
                "percent_mito": rng.normal(size=n_cells),
                "size_factor": rng.uniform(0.5, 2.0, size=n_cells),
            },
            index=[f"cell{i}" for i in range(n_cells)],
        )
        var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
        return AnnData(sparse.csr_matrix(counts), obs=obs, var=var)

    return make


@pytest.fixture
def adata(make_adata):
    return make_adata()
