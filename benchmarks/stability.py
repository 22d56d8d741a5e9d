"""What trainings with other seeds agree about, on real data and where little should agree.

``python benchmarks/stability.py`` rewrites ``benchmarks/stability.md``. Retrainings of one model
run side by side, so the seconds are those of a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np
from _data import load
from _measure import cpu_model, page, report, table
from anndata import AnnData

N_SEEDS, N_GENES, SEED = 5, 2_000, 0
DATASETS = ("pbmc4k_top2000", "cortex_zeisel", "pbmc_facs")
MEASURES = {
    "neighbours": "neighbours",
    "clusters": "clusters, ARI",
    "subspace": "CCA",
    "raw_axes": "MCC, raw",
    "canonical_axes": "MCC, canonical",
    "fold_changes": "fold changes",
    "top_genes": "top 100",
}


def noise() -> AnnData:
    """Cells that differ by nothing but noise and depth."""
    from scipy import sparse

    rng = np.random.default_rng(SEED)
    rate = 1000 * rng.dirichlet(np.full(300, 0.3)) * rng.lognormal(0, 0.3, (1000, 1))
    return AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))


def some(adata: AnnData, n_cells: int) -> AnnData:
    """Cells drawn at random."""
    chosen = np.random.default_rng(SEED).permutation(adata.n_obs)[:n_cells]
    return adata[np.sort(chosen)].copy()


def cases() -> dict[str, tuple[AnnData, dict[str, Any], dict[str, Any], str | None]]:
    """Return data, arguments of model and training, and the column of cell types."""
    data = {name: load(name, N_GENES) for name in DATASETS}
    pbmc = data[DATASETS[0]]
    found = {name: (adata, {}, {}, "cell_type") for name, adata in data.items()}
    return found | {
        "1,500 cells, one epoch": (some(pbmc, 1500), {}, {"max_epochs": 1}, "cell_type"),
        "100 cells, n_latent 30": (some(pbmc, 100), {"n_latent": 30}, {}, "cell_type"),
        "noise": (noise(), {}, {}, None),
    }


def main() -> None:
    """Measure, and write the page."""
    import logging
    import warnings

    import scvi

    from lucidvi import audit
    from lucidvi.model import SCVI

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two runs of the small ones")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = []
    for name, (adata, options, training, labels) in cases().items():
        if arguments.quick and name in DATASETS:
            continue
        scvi.settings.seed = SEED
        SCVI.setup_anndata(adata)
        model = SCVI(adata, gene_likelihood="nb", **options)
        model.train(enable_progress_bar=False, **training)
        start = time.perf_counter()
        n_seeds = 2 if arguments.quick else N_SEEDS
        found = audit.stability(model, n_seeds=n_seeds, labels_key=labels)
        seconds = time.perf_counter() - start
        values = [getattr(found, measure) for measure in MEASURES]
        told = (f"{v.mean():.2f} ({v.min():.2f})" for v in values)
        rows.append([name, *told, found.verdict, f"{seconds:.0f}"])
        print(rows[-1], flush=True)
    lines = [
        "# What trainings with other seeds agree about",
        "",
        f"`lucidvi.audit.stability` of default NB models, {N_SEEDS} trainings each, all pairs: "
        f"mean and, in parentheses, the least. {N_GENES:,} most variable genes of three real data "
        "sets; below them trainings that should not agree. Fold changes are those of the two "
        "largest cell types, or clusters.",
        "",
        *table(["", *MEASURES.values(), "verdict", "seconds"], rows),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/stability.py`",
    ]
    report(page("stability.md", arguments.quick), lines)


if __name__ == "__main__":
    main()
