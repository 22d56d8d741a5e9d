"""scVelo, in an environment of its own: ``python _scvelo.py prepare|dynamical|score FILES``."""

from __future__ import annotations

import json
import sys
import time
import warnings

import anndata
import numpy as np
import scanpy as sc
import scvelo as scv

#: Transitions that are known of the pancreas, from which to which.
KNOWN = [
    ("Ductal", "Ngn3 low EP"),
    ("Ngn3 low EP", "Ngn3 high EP"),
    ("Ngn3 high EP", "Pre-endocrine"),
    *(("Pre-endocrine", end) for end in ("Alpha", "Beta", "Delta", "Epsilon")),
]


def prepare(source: str, out: str) -> None:
    """Write smoothed expression, neighbours and UMAP, as scVelo's own workflow makes them."""
    adata = anndata.read_h5ad(source)
    adata.X = adata.layers["spliced"].astype(np.float32)
    for name in ("spliced", "unspliced"):
        adata.layers[name] = adata.layers[name].astype(np.float32)
    scv.pp.filter_genes(adata, min_shared_counts=20)
    scv.pp.normalize_per_cell(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    sc.pp.neighbors(adata, n_neighbors=30, n_pcs=30)
    scv.pp.moments(adata, n_pcs=None, n_neighbors=None)
    sc.tl.umap(adata)
    adata.write_h5ad(out)


def dynamical(prepared: str, out: str) -> None:
    """Write velocities of the dynamical mode; print its CPU seconds."""
    adata = anndata.read_h5ad(prepared)
    start = time.process_time()
    scv.tl.recover_dynamics(adata, n_jobs=1, show_progress_bar=False)
    scv.tl.velocity(adata, mode="dynamical")
    seconds = time.process_time() - start
    velocity = np.asarray(adata.layers["velocity"])
    used = adata.var["velocity_genes"].to_numpy(bool) & np.isfinite(velocity).all(axis=0)
    np.savez(out, velocity=velocity[:, used], expression=np.asarray(adata.layers["Ms"])[:, used])
    print(seconds)


def score(prepared: str, found: str) -> None:
    """Print the cross-boundary correctness of velocities, and of the same of permuted cells."""
    adata, arrays = anndata.read_h5ad(prepared), np.load(found)
    labels = adata.obs["cell_type"].astype(str).to_numpy()
    genes = anndata.AnnData(arrays["expression"], obs=adata.obs[[]])
    genes.layers["Ms"], genes.layers["velocity"] = genes.X, arrays["velocity"]
    for name in ("distances", "connectivities"):
        genes.obsp[name] = adata.obsp[name]
    genes.uns["neighbors"] = adata.uns["neighbors"]
    for name in ("X_umap", "X_pca"):
        genes.obsm[name] = adata.obsm[name]
    scv.tl.velocity_graph(genes, vkey="velocity", xkey="Ms", n_jobs=1, show_progress_bar=False)
    near = [np.asarray(adata.obsp["distances"][i].indices) for i in range(adata.n_obs)]
    scores = {}
    for basis in ("umap", "pca"):
        scv.tl.velocity_embedding(genes, basis=basis, direct_pca_projection=False)
        v, x = genes.obsm[f"velocity_{basis}"], genes.obsm[f"X_{basis}"]
        scores[basis] = correctness(v, x, labels, near)
        if basis == "umap":
            shuffled = np.random.default_rng(0).permutation(len(v))
            scores["permuted"] = correctness(v[shuffled], x, labels, near)
    totals = {name: float(np.nanmean(list(of.values()))) for name, of in scores.items()}
    print(json.dumps(totals | {f"{a} to {b}": scores["umap"][a, b] for a, b in KNOWN}))


def correctness(
    velocity: np.ndarray, x: np.ndarray, labels: np.ndarray, near: list[np.ndarray]
) -> dict[tuple[str, str], float]:
    """Mean cosine of velocities and ways to neighbours of the next type, by transition."""
    found = {}
    for first, second in KNOWN:
        cosines = []
        for i in np.flatnonzero(labels == first):
            others = near[i][labels[near[i]] == second]
            if len(others):
                ways = x[others] - x[i]
                size = np.linalg.norm(ways, axis=1) * np.linalg.norm(velocity[i])
                cosines.append(np.mean(ways @ velocity[i] / (size + 1e-12)))
        found[first, second] = float(np.mean(cosines)) if cosines else np.nan
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    scv.settings.verbosity = 0
    command, *files = sys.argv[1:]
    {"prepare": prepare, "dynamical": dynamical, "score": score}[command](*files)
