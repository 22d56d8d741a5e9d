"""Spliced and unspliced counts of cells on a curve, of which everything is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse


def spliced_anndata(
    n_cells: int = 400,
    n_genes: int = 60,
    depth: float = 1_500,
    seed: int = 0,
    *,
    n_batches: int = 1,
    exchangeable: bool = False,
) -> AnnData:
    """Draw cells along a curve from time 0 to 10, in lifetimes of a typical gene's molecules.

    The log spliced expression of a gene goes up and down once, and its unspliced molecules follow
    from the kinetics, u = (ds/dt + gamma s) / beta, so that the truth is in closed form.

    Parameters
    ----------
    n_cells, n_genes, depth, seed
        Sizes, molecules of a typical cell, and the seed.
    n_batches
        Batches, in each of which genes differ by some factor.
    exchangeable
        Draw which molecules are unspliced with one probability for all of a gene.

    Returns
    -------
    Counts in ``layers``; ``obs["time"]``; of each cell and gene ``layers["share"]`` of its spliced
    expression and ``layers["change"]``, the derivative of that by time; ``var["degradation"]``.
    """
    rng = np.random.default_rng(seed)
    time = rng.uniform(0, 10, n_cells)
    up, down = np.sort(rng.uniform(-1, 11, (2, n_genes)), axis=0)
    height = np.clip(rng.normal(0, 1.2, n_genes), -1.4, 1.4)
    base = rng.normal(0, 0.7, n_genes)
    gamma = np.clip(np.exp(rng.normal(0, 0.3, n_genes)), 0.55, 2)
    width = 0.8
    log_s, slope = np.zeros((2, n_cells, n_genes))
    for at, sign in ((up, 1.0), (down, -1.0)):
        step = 1 / (1 + np.exp(-(time[:, None] - at) / width))
        log_s += sign * height * step
        slope += sign * height * step * (1 - step) / width
    s = np.exp(base + log_s)
    u = s * (slope + gamma) / gamma * 0.25
    batch = rng.integers(n_batches, size=n_cells)
    factor = np.exp(rng.normal(0, 0.3, (n_batches, n_genes)))[batch] if n_batches > 1 else 1.0
    scale = depth * np.exp(rng.normal(0, 0.2, n_cells)) / ((s + u) * factor).sum(axis=1)
    mean = factor * scale[:, None]
    spliced, unspliced = rng.poisson(s * mean), rng.poisson(u * mean)
    if exchangeable:
        total = spliced + unspliced
        unspliced = rng.binomial(total, unspliced.sum(axis=0) / np.maximum(total.sum(axis=0), 1))
        spliced = total - unspliced
    share = s / s.sum(axis=1, keepdims=True)
    change = share * (slope - (share * slope).sum(axis=1, keepdims=True))
    names = pd.Index([f"cell_{i}" for i in range(n_cells)])
    genes = pd.Index([f"gene_{i}" for i in range(n_genes)])
    obs = pd.DataFrame({"time": time, "batch": [f"b{b}" for b in batch]}, index=names)
    adata = AnnData(sparse.csr_matrix(spliced), obs, pd.DataFrame(index=genes))
    adata.layers["spliced"] = sparse.csr_matrix(spliced)
    adata.layers["unspliced"] = sparse.csr_matrix(unspliced)
    adata.layers["share"], adata.layers["change"] = share, change
    adata.var["degradation"] = gamma
    return adata
