"""What an integration is compared with: principal components, and scvi-tools' own training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from lucidvi._random import isolated

N_COMPONENTS = 50
#: Arguments of a model's setup that name columns of ``obs``; the baseline is set up with them.
COLUMNS = (
    "batch_key",
    "size_factor_key",
    "categorical_covariate_keys",
    "continuous_covariate_keys",
)


def principal_components(counts: sparse.csr_matrix) -> NDArray[np.float32]:
    """Return principal components of normalized log counts, as scanpy makes them by default.

    Parameters
    ----------
    counts
        Of all genes, shape ``(n_cells, n_genes)``.

    Returns
    -------
    Shape ``(n_cells, n_components)``, 50 where there are so many cells and genes.
    """
    import scanpy as sc

    adata = AnnData(counts.astype(np.float32))
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=min(N_COMPONENTS, min(adata.shape) - 1), random_state=0)
    return np.asarray(adata.obsm["X_pca"], np.float32)


def trained_scvi(
    counts: sparse.csr_matrix,
    obs: pd.DataFrame,
    setup_args: dict[str, Any],
    train_kwargs: dict[str, Any],
) -> NDArray[np.float32]:
    """Train ``scvi.model.SCVI`` by its defaults, and return its latent means.

    Parameters
    ----------
    counts, obs
        The cells; neither is changed.
    setup_args
        Arguments with which another model was set up, from which the batch and covariates are
        taken.
    train_kwargs
        Arguments of ``train``.
    """
    columns = {name: setup_args[name] for name in COLUMNS if setup_args.get(name)}
    adata = AnnData(counts, obs=obs.copy())
    scvi.model.SCVI.setup_anndata(adata, **columns)
    model = scvi.model.SCVI(adata)
    model.train(**train_kwargs)
    return model.get_latent_representation()


def timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Return what a function returns, and the seconds that it took."""
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed everything that scvi-tools draws from, and leave it as it was."""
    setting = scvi.settings.seed
    with isolated():
        scvi.settings.seed = seed
        try:
            yield
        finally:
            scvi.settings.seed = setting
