"""A first model on real cells: what ``lucidvi demo`` runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import scanpy as sc
import scvi
from anndata import AnnData
from matplotlib.figure import Figure
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from lucidvi.data import pbmc68k
from lucidvi.files import writable
from lucidvi.model import SCVI


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured and wrote.

    Parameters
    ----------
    n_cells, n_genes
        Size of the data.
    n_epochs
        Passes over the training cells.
    seconds
        Training time.
    elbo
        Mean ELBO of the held-out cells, in nats a cell; higher is better.
    ari, nmi
        Agreement of the clusters with the known cell types: adjusted Rand index and normalized
        mutual information; 1 is perfect.
    figure, adata, model
        Files written: UMAP, AnnData, folder of the model.
    """

    n_cells: int
    n_genes: int
    n_epochs: int
    seconds: float
    elbo: float
    ari: float
    nmi: float
    figure: Path
    adata: Path
    model: Path


def run_demo(output: Path, max_epochs: int | None = None, seed: int = 0) -> DemoResult:
    """Train on 700 PBMC with known types, cluster them, and write what came out.

    Parameters
    ----------
    output
        Folder to write to; made if it does not exist.
    max_epochs
        Passes over the training cells; as many as ``SCVI.train`` makes by default.
    seed
        Seed of the split, of the weights and of the minibatches.
    """
    with writable(output / "model"):
        output.mkdir(parents=True, exist_ok=True)
    files = {
        "figure": output / "umap.png",
        "adata": output / "pbmc68k.h5ad",
        "model": output / "model",
    }
    adata = pbmc68k()
    scvi.settings.seed = seed
    SCVI.setup_anndata(adata)
    model = SCVI(adata)
    start = time.perf_counter()
    model.train(max_epochs=max_epochs)
    seconds = time.perf_counter() - start

    adata.obsm["X_scVI"] = model.get_latent_representation()
    cluster(adata, seed)
    plot_umap(adata).savefig(files["figure"], dpi=150, bbox_inches="tight")
    adata.write_h5ad(files["adata"])
    model.save(str(files["model"]), overwrite=True)
    types, clusters = adata.obs["cell_type"], adata.obs["cluster"]
    return DemoResult(
        n_cells=adata.n_obs,
        n_genes=adata.n_vars,
        n_epochs=len(model.history["elbo_train"]),
        seconds=seconds,
        elbo=float(model.get_elbo(indices=model.validation_indices)),
        ari=float(adjusted_rand_score(types, clusters)),
        nmi=float(normalized_mutual_info_score(types, clusters)),
        **files,
    )


def cluster(adata: AnnData, seed: int = 0) -> None:
    """Add ``obs["cluster"]`` (Leiden) and ``obsm["X_umap"]``, both from ``obsm["X_scVI"]``."""
    sc.pp.neighbors(adata, use_rep="X_scVI", random_state=seed)
    sc.tl.leiden(
        adata,
        key_added="cluster",
        flavor="igraph",
        n_iterations=2,
        directed=False,
        random_state=seed,
    )
    sc.tl.umap(adata, random_state=seed)


def plot_umap(adata: AnnData) -> Figure:
    """Draw ``obsm["X_umap"]`` twice, by known cell type and by cluster."""
    return sc.pl.umap(
        adata,
        color=["cell_type", "cluster"],
        title=["Known cell types", "Clusters of the latent space"],
        frameon=False,
        wspace=0.6,
        show=False,
        return_fig=True,
    )
