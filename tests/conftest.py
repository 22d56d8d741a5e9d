"""What all tests share: real data sets, a seed, quiet progress bars."""

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Small models: threads that wait for each other cost more than they do, all the more on cores that
# other tests keep busy. Numba, which scanpy calls, sets OpenMP's threads to its own number, for
# torch as well. Handed down to the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData, read_h5ad
from hypothesis import settings
from scipy import sparse
from tests.skips import (  # noqa: F401 (hooks of pytest)
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LUCIDVI_DATA", ROOT.parent / "shared" / "data"))

settings.register_profile("lucidvi", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("lucidvi")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
torch.set_num_threads(1)


#: Tests of what meets other packages: scvi-tools, anndata, Lightning, torch, pandas.
SEAM = (
    "atlas/mapping",
    "atlas/test_reference.py",
    "audit/test_run.py",
    "audit/test_ways_in.py",
    "cli",
    "data",
    "dynamics",
    "files",
    "kernels/test_csr.py",
    "kernels/test_team.py",
    "model",
    "module",
    "nn",
    "pl/test_plots.py",
    "results",
    "simulate/test_resequence.py",
    "simulate/test_sample.py",
    "test_demo.py",
    "test_package.py",
    "train",
)


#: Tests of a minute each, which begin first, so that no worker is left alone with one at the end.
LONGEST = ("test_docs.py", "test_tutorials.py", "atlas/integration/test_integration.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for real data, and those of what meets other packages."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))
    seam = tuple(str(ROOT / "tests" / place) for place in SEAM)
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)
        if str(item.path).startswith(seam):
            item.add_marker(pytest.mark.seam)


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


@pytest.fixture(scope="session")
def make_findings():
    """Return a function that makes an audit's findings, by name, of made-up numbers.

    ``worth`` is what each latent direction is worth, ``misfit`` the share of genes that do not
    fit, ``names`` what batches, labels and genes are called besides their number, ``shift`` the
    encoder's error and ``scale`` the posteriors' width (1 where the counts determine nothing).
    """
    from lucidvi.audit.checks import (
        amortization,
        collapse,
        confounding,
        fit,
        identifiability,
        modalities,
    )
    from lucidvi.audit.subject import Imputed, Predictions
    from lucidvi.model.flow._direction import judged
    from lucidvi.results import Posteriors

    def make(
        worth=(40, 20, 5, 0.1), misfit=0.2, names="", n_batches=3, shift=0.8, scale=0.3, n_genes=60
    ):
        rng = np.random.default_rng(0)
        n, k = 200, len(worth)
        worth = np.asarray(worth, dtype=float)
        z = rng.normal(size=(n, k))
        batch = np.array([f"b{i % n_batches}{names}" for i in range(n)])
        label = np.array([f"t{i % 2}{names}" for i in range(n)])
        losses = worth + 0.2 * rng.normal(size=(n, k))
        loadings = rng.normal(size=(n, 50, k)) * np.sqrt(worth / 50)
        residuals = rng.random((n, n_genes))
        residuals[:, : round(misfit * n_genes)] **= 3
        mean = np.geomspace(0.05, 20, n_genes)
        gap = np.full(n, 0.5 * k * shift**2)
        predicted = Predictions(
            gene=np.array([f"g{i}{names}" for i in range(n_genes)]),
            cell=np.arange(n),
            residuals=residuals,
            zeros_observed=np.linspace(0.98, 0.1, n_genes),
            zeros_predicted=np.linspace(0.98, 0.1, n_genes),
            zeros_error=np.full(n_genes, 0.01),
            correlated=np.arange(3),
            log_observed=rng.normal(size=(n, 3)),
            log_predicted=rng.normal(size=(n, 3)),
            **dict.fromkeys(("mean_observed", "mean_predicted"), mean),
            **dict.fromkeys(("variance_observed", "variance_predicted"), mean + mean**2),
            **dict.fromkeys(("library_observed", "library_predicted"), np.ones(n)),
            **dict.fromkeys(("cv_observed", "cv_predicted"), np.ones(n)),
        )
        q = [
            Posteriors(
                loc=z + scale * rng.normal(size=(n, k)),
                scale=np.full((n, k), scale),
                names=pd.RangeIndex(n),
            )
            for _ in range(3)
        ]
        kinds = [f"rna{names}", f"prot{names}"]
        imputed = Imputed(predicted.gene, residuals, rng.random((n, n_genes)), residuals)
        found = (
            collapse(z, np.full_like(z, 0.5), np.diag(worth), np.eye(k), losses, losses * 0.9),
            identifiability(
                np.einsum("ngk,ngl->nkl", loadings, loadings),
                np.broadcast_to(np.diag(1 / (1 + worth)), (n, k, k)),
                int((worth > 1).sum()),
            ),
            amortization(
                gap,
                gap,
                np.full(n, 100.0),
                z,
                z,
                np.full_like(z, scale),
                names=pd.RangeIndex(n),
                label=label,
                batch=batch,
            ),
            fit(predicted, None, "nb", "unknown", n_latent=5, n_used=5),
            confounding(z, batch, rng.normal(7, 0.5, n), label),
            modalities(
                pd.DataFrame(True, pd.RangeIndex(n), kinds),
                q[0],
                dict(zip(kinds, q[1:], strict=True)),
                dict(zip(kinds, q[:0:-1], strict=True)),
                dict.fromkeys(kinds, imputed),
            ),
            judged(
                pd.DataFrame(
                    {"agreement": rng.normal(1, 1.5, n_genes), "is_used": True},
                    index=[f"g{i}{names}" for i in range(n_genes)],
                ),
                pd.DataFrame(
                    {"evidence": rng.normal(1, 1, n), "cosine": rng.uniform(-1, 1, n)},
                    index=pd.RangeIndex(n),
                ),
            ),
        )
        return {finding.name: finding for finding in found}

    return make
