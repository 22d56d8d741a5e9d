"""Data to measure on: real sets by name, and simulated ones of any size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData, concat, read_h5ad
from scipy import sparse

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LUCIDVI_DATA", ROOT.parent / "shared" / "data"))

N_CLUSTERS = 8
INVERSE_DISPERSION = 2.0
#: Entries that a block of simulated cells holds densely.
BLOCK = 8_000_000


def load(name: str, n_genes: int | None = None) -> AnnData:
    """Read a real data set: raw counts in ``X``, cell types in ``obs["cell_type"]``.

    Parameters
    ----------
    name
        File without ``.h5ad``, in the folder that ``LUCIDVI_DATA`` names.
    n_genes
        Keep this many of the most variable genes, chosen by scanpy on log-normalised counts.

    Returns
    -------
    AnnData without cells that have no counts.
    """
    file = DATA / f"{name}.h5ad"
    if not file.exists():
        raise SystemExit(f"No data set {name!r}: {file} is missing (set LUCIDVI_DATA).")
    adata = read_h5ad(file)
    if n_genes is not None and n_genes < adata.n_vars:
        adata = adata[:, most_variable(adata, n_genes)].copy()
    has_counts = np.asarray(adata.X.sum(axis=1)).ravel() > 0
    return adata if has_counts.all() else adata[has_counts].copy()


def pooled(names: Sequence[str]) -> AnnData:
    """Pool data sets of one tissue: the genes that all have, the data set before each batch.

    Parameters
    ----------
    names
        See :func:`load`. Genes are matched by symbol: ``var["gene_symbol"]`` where there is one.
    """
    parts = {}
    for name in names:
        part = load(name)
        if "gene_symbol" in part.var:
            part.var_names = part.var["gene_symbol"].astype(str)
        part = part[:, ~part.var_names.duplicated()]
        batch = part.obs["batch"].astype(str) if "batch" in part.obs else ""
        obs = pd.DataFrame({"batch": name + " " + batch}, index=part.obs_names)
        parts[name] = AnnData(part.X, obs, part.var[[]])
    pool = concat(parts, join="inner", index_unique=" ")
    has_counts = np.asarray(pool.X.sum(axis=1)).ravel() > 0
    return pool if has_counts.all() else pool[has_counts].copy()


def most_variable(adata: AnnData, n_genes: int) -> np.ndarray:
    """Say which genes are the most variable ones, shape ``(adata.n_vars,)``."""
    import scanpy as sc

    counts = adata.X.astype(np.float32)
    n_threads = torch.get_num_threads()
    copy = AnnData(counts[np.asarray(counts.sum(axis=1)).ravel() > 0])
    sc.pp.normalize_total(copy)
    sc.pp.log1p(copy)
    genes = sc.pp.highly_variable_genes(copy, n_top_genes=n_genes, inplace=False)
    torch.set_num_threads(n_threads)  # numba, which scanpy calls, sets OpenMP's for all
    return genes["highly_variable"].to_numpy()


def simulated(
    n_cells: int, n_genes: int = 2_000, seed: int = 0, density: float = 0.1
) -> sparse.csr_matrix:
    r"""Simulate clustered counts, :math:`x_{cg} \sim \mathrm{NB}(\ell_c \rho_{k_c g}, r)`.

    Made block by block in threads, so that what is held densely does not grow with the cells.
    The values depend on the seed alone.

    Parameters
    ----------
    n_cells, n_genes
        Shape of the result.
    seed
        Of everything that is random.
    density
        Expected share of entries that are not zero.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 1.5, n_genes)
    profiles = np.exp(base + rng.normal(0, 1, (N_CLUSTERS, n_genes)))
    profiles /= profiles.sum(axis=1, keepdims=True)
    library = library_for(profiles, density)
    size = max(1, BLOCK // n_genes)
    sizes = [min(size, n_cells - start) for start in range(0, n_cells, size)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        blocks = threads.map(lambda n, s: simulate_block(profiles, library, n, s), sizes, seeds)
        return sparse.vstack(list(blocks), format="csr")


def simulate_block(
    profiles: np.ndarray, library: float, n_cells: int, seed: np.random.SeedSequence
) -> sparse.csr_matrix:
    """Simulate some cells, none of which is empty."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(len(profiles), size=n_cells)
    exposure = library * rng.lognormal(0, 0.3, (n_cells, 1))
    rate = rng.standard_gamma(INVERSE_DISPERSION, (n_cells, profiles.shape[1]), dtype=np.float32)
    rate *= profiles.astype(np.float32)[cluster]
    rate *= (exposure / INVERSE_DISPERSION).astype(np.float32)
    counts = rng.poisson(rate).astype(np.int32)
    counts[counts.sum(axis=1) == 0, 0] = 1
    return sparse.csr_matrix(counts)


def library_for(profiles: np.ndarray, density: float) -> float:
    """Find the library at which the expected share of non-zero entries is ``density``."""
    low, high = 1.0, 1e9
    for _ in range(60):
        library = np.sqrt(low * high)
        zero = (1 + library * profiles / INVERSE_DISPERSION) ** -INVERSE_DISPERSION
        low, high = (library, high) if 1 - zero.mean() < density else (low, library)
    return float(library)


def store(file: Path, **simulation: Any) -> dict[str, str]:
    """Simulate once into a file, and return what :func:`read` takes."""
    sparse.save_npz(file, simulated(**simulation), compressed=False)
    return {"file": str(file)}


def read(spec: dict[str, Any]) -> AnnData:
    """Return the data that a measurement asks for.

    Parameters
    ----------
    spec
        Arguments of :func:`load` or of :func:`simulated`, ``{"file": ...}`` of :func:`store`, or
        ``{"pool": ...}``, the names for :func:`pooled`.
    """
    if "pool" in spec:
        return pooled(spec["pool"])
    if "name" in spec:
        return load(**spec)
    counts = sparse.load_npz(spec["file"]) if "file" in spec else simulated(**spec)
    return AnnData(sparse.csr_matrix(counts))
