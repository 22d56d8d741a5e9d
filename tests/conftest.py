"""What all tests share: real data sets, a seed, quiet progress bars."""

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Small models: threads that wait for each other cost more than they do, all the more on cores that
# other tests keep busy. Handed down to the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData, read_h5ad
from hypothesis import settings
from scipy import sparse

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LUCIDVI_DATA", ROOT.parent / "shared" / "data"))

settings.register_profile("lucidvi", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("lucidvi")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for real data."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed every global generator, so that a test does not depend on those before it."""
    value = 0
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 (scvi and scanpy draw from the global generator)
    torch.manual_seed(value)
    return value


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], AnnData]:
    """Return a function that reads a real data set by name, and skips where it is missing."""

    def read(name: str) -> AnnData:
        file = DATA / f"{name}.h5ad"
        if not file.exists():
            pytest.skip(f"no data set {name!r}: {file} is missing (set LUCIDVI_DATA)")
        return read_h5ad(file)

    return read


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
