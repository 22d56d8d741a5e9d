"""What it costs to notice that counts have changed since they were set up.

``OMP_NUM_THREADS=1 python benchmarks/unchanged.py`` rewrites ``benchmarks/unchanged.md``.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
from _data import simulated
from _measure import cpu_model, page, report, table
from anndata import AnnData
from scipy import sparse

N_GENES, SEED, REPEATS = 2_000, 0, 5
SIZES, QUICK = (100_000, 1_000_000), (2_000,)
#: Cells of the calls beside which a part of the data is checked.
N_DENSE = 100_000


def cpu_seconds(call: Callable[[], Any], repeats: int = 1) -> list[float]:
    """Return the CPU seconds of a call, several times."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return found


def measured(counts: Any, form: str) -> list[list[str]]:
    """Rows of the table for one matrix."""
    from lucidvi.model import SCVI

    adata = AnnData(counts)
    adata.obs["batch"] = np.resize(["a", "b", "c"], adata.n_obs)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata)
    model.train(1, accelerator="cpu", enable_progress_bar=False, logger=False)
    manager = model.adata_manager
    some = np.random.default_rng(SEED).choice(adata.n_obs, 1_000, replace=False)
    calls = {
        "an epoch of training": (
            lambda: model.train(1, accelerator="cpu", enable_progress_bar=False, logger=False),
            None,
        ),
        "`get_latent_representation()`": (model.get_latent_representation, None),
        "`get_latent_representation(indices=)`, 1,000 cells": (
            lambda: model.get_latent_representation(indices=some),
            some,
        ),
    }
    rows = []
    for name, (call, cells) in calls.items():
        manager.check_unchanged(cells)
        check = cpu_seconds(lambda rows=cells: manager.check_unchanged(rows), REPEATS)
        whole = min(cpu_seconds(call, 1 if cells is None else REPEATS))
        n_checks = 2 if "epoch" in name else 1  # before a training, and by its loaders
        low, middle, high = (1e3 * n_checks * f(check) for f in (min, median, max))
        share = f"{middle / (10 * whole):.2f} %"
        figures = [f"{whole:.3g}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}", share]
        rows.append([f"{adata.n_obs:,}", form, name, *figures])
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cells, to try the script")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows = []
    for n_cells in QUICK if quick else SIZES:
        counts = simulated(n_cells, N_GENES, SEED).astype(np.float32)
        rows += measured(counts, "CSR, float32")
        if n_cells <= N_DENSE:
            rows += measured(counts.astype(np.int64), "CSR, int64")
            rows += measured(sparse.csc_matrix(counts), "CSC, float32")
            rows += measured(counts.toarray(), "dense, float32")
    report(page("unchanged.md", quick), lines(rows))


def lines(rows: list[list[str]]) -> list[str]:
    """Lines of the page."""
    head = ["cells", "counts", "call", "CPU s", "check, CPU ms", "range", "share"]
    return [
        "# Counts that changed since they were set up",
        "",
        f"Every call compares the cells that it reads with those that `setup_anndata` checked, by "
        f"a digest a cell. Simulated counts, {N_GENES:,} genes, a tenth of them not zero; CPU "
        f"seconds of one thread, of the check the median of {REPEATS} and their range. A training "
        "checks twice, before it starts and in its loaders, however long it is: the share is that "
        "of a training of a single epoch.",
        "",
        *table(head, rows),
        "",
        f"{cpu_model()}. `OMP_NUM_THREADS=1 python benchmarks/unchanged.py`",
    ]


if __name__ == "__main__":
    main()
