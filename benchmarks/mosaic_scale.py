"""Seconds and memory to train MOSAICVI on simulated cells of two modalities.

``python benchmarks/mosaic_scale.py`` rewrites ``benchmarks/mosaic_scale.md``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["TQDM_DISABLE"] = "1"

import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from _measure import cpu_model, page, report, table
from _worker import peak_mib
from anndata import AnnData
from mosaic import as_mudata, cells
from scipy import sparse

from lucidvi.model import MOSAICVI

mudata.set_options(pull_on_update=False)

SEED, KINDS = 0, {"rna": "rna", "prot": {"kind": "protein", "measured": "all"}}
SIZES = (10_000, 30_000)


def trained(mdata: mudata.MuData, epochs: int | None = None) -> MOSAICVI:
    """Train a model, by default as users do."""
    scvi.settings.seed = SEED
    MOSAICVI.setup_mudata(mdata, KINDS, batch_key="batch")
    model = MOSAICVI(mdata)
    model.train(epochs, enable_progress_bar=False)
    return model


def simulated(model: MOSAICVI, n_cells: int) -> mudata.MuData:
    """Draw as many cells as are asked for from the posterior predictive of a model's cells."""
    assert model.adata is not None
    rng = np.random.default_rng(SEED)
    rows = rng.integers(model.adata.n_obs, size=n_cells)
    names = np.arange(n_cells).astype(str)
    parts = {}
    for modality in KINDS:
        scvi.settings.seed = SEED
        drawn = model.posterior_predictive_sample(indices=rows, modality=modality)
        x = sparse.csr_matrix(
            drawn.to_scipy_sparse() if hasattr(drawn, "to_scipy_sparse") else drawn
        )
        x[np.ravel(x.sum(axis=1)) == 0, 0] = 1
        var = pd.DataFrame(index=model.get_feature_names(modality))
        parts[modality] = AnnData(x.astype(np.float32), pd.DataFrame(index=names), var)
        parts[modality].obs["batch"] = model.adata.obs["batch"].astype(str).to_numpy()[rows]
    mdata = mudata.MuData(parts)
    mdata.obs["batch"] = parts["rna"].obs["batch"]
    return mdata


def measured(file: str) -> None:
    """Train on the cells of a file, and print seconds and the peak of memory, MiB."""
    mdata = mudata.read_h5mu(file)
    before = peak_mib()
    start, cpu = time.perf_counter(), time.process_time()
    model = trained(mdata)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    epochs = len(model.history["elbo_train"])
    print(
        json.dumps(
            {"wall": wall, "cpu": cpu, "before": before, "after": peak_mib(), "epochs": epochs}
        )
    )


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cells, to try the script")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return measured(given.one)
    rows = []
    with TemporaryDirectory() as folder:
        source = trained(as_mudata(cells(SEED, "mosaic")[0]), 2 if given.quick else None)
        for n in (1_000, 2_000) if given.quick else SIZES:
            file = Path(folder) / f"{n}.h5mu"
            simulated(source, n).write_h5mu(file)
            command = [sys.executable, __file__, "--one", str(file)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append(
                [f"{n:,}", f"{found['epochs']}", f"{found['wall']:.0f}", f"{found['cpu']:.0f}"]
                + [f"{found[when]:,.0f}" for when in ("before", "after")]
            )
            print(rows[-1], flush=True)
    threads = torch.get_num_threads()
    text = [
        "# Many cells of two modalities",
        "",
        "Cells drawn from a model of PBMC (`pbmc_cite`, 2,000 genes and 14 proteins, in three "
        "batches), all with both modalities; setup and training by default in a fresh process. "
        "MiB: peak of the process, before and at the end.",
        "",
        *table(["cells", "epochs", "seconds", "CPU seconds", "MiB before", "MiB"], rows),
        "",
        f"`python benchmarks/mosaic_scale.py` on {cpu_model()}, {os.cpu_count()} cores, "
        f"{threads} threads.",
    ]
    report(page("mosaic_scale.md", given.quick), text)
    return None


if __name__ == "__main__":
    main()
