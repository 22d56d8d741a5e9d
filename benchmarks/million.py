"""What a model answers of a million cells on disk: seconds and memory.

``python benchmarks/million.py`` rewrites ``benchmarks/million.md``.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import h5py
import numpy as np
import pandas as pd
from _data import N_CLUSTERS, library_for, simulate_block
from _measure import cpu_model, page, report, table
from _worker import peak_mib
from anndata import AnnData, read_h5ad
from anndata.io import write_elem
from scipy import sparse

SEED, N_GENES, DENSITY, N_TRAINED, BLOCK = 0, 2_000, 0.1, 20_000, 20_000
SIZES = (100_000, 1_000_000)
QUICK = (1_000, 2_000)
QUESTIONS: dict[str, Callable[[Any, AnnData], Any]] = {
    "latent states": lambda model, adata: model.get_latent_representation(adata),
    "differential expression, one group": lambda model, adata: model.differential_expression(
        adata, groupby="group", group1="0", silent=True, seed=0
    ),
    "differential expression, all groups": lambda model, adata: model.differential_expression(
        adata, groupby="group", silent=True, seed=0
    ),
}


def blocks(n_cells: int, size: int) -> Iterator[sparse.csr_matrix]:
    """Simulate cells of clusters, block by block."""
    rng = np.random.default_rng(SEED)
    profiles = np.exp(rng.normal(0, 1.5, N_GENES) + rng.normal(0, 1, (N_CLUSTERS, N_GENES)))
    profiles /= profiles.sum(axis=1, keepdims=True)
    library = library_for(profiles, DENSITY)
    seeds = np.random.SeedSequence(SEED).spawn(-(-n_cells // size))
    for number, seed in enumerate(seeds):
        yield simulate_block(profiles, library, min(size, n_cells - number * size), seed)


def written(file: Path, n_cells: int, size: int) -> None:
    """Write cells into a file as they are simulated."""
    names = pd.Index(np.arange(N_GENES).astype(str))
    groups = pd.Categorical((np.arange(n_cells) % 5).astype(str))
    obs = pd.DataFrame({"group": groups}, index=np.arange(n_cells).astype(str))
    AnnData(obs=obs, var=pd.DataFrame(index=names)).write_h5ad(file)
    indptr = [np.zeros(1, np.int64)]
    with h5py.File(file, "a") as store:
        if "X" in store:
            del store["X"]
        matrix = store.create_group("X")
        matrix.attrs.update(
            {
                "encoding-type": "csr_matrix",
                "encoding-version": "0.1.0",
                "shape": (n_cells, N_GENES),
            }
        )
        for name, dtype in (("data", np.float32), ("indices", np.int32)):
            matrix.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(2**18,))
        for block in blocks(n_cells, size):
            start, stop = indptr[-1][-1], indptr[-1][-1] + block.nnz
            for name in ("data", "indices"):
                matrix[name].resize((stop,))
                matrix[name][start:stop] = getattr(block, name)
            indptr.append(start + block.indptr[1:].astype(np.int64))
        write_elem(matrix, "indptr", np.concatenate(indptr))


def trained(file: Path, folder: Path) -> None:
    """Train a model on the first cells of a file."""
    import scvi

    from lucidvi.model import SCVI

    scvi.settings.seed = SEED
    cells = read_h5ad(file, backed="r")[:N_TRAINED].to_memory()
    SCVI.setup_anndata(cells)
    model = SCVI(cells)
    model.train(enable_progress_bar=False)
    model.save(folder, overwrite=True)


def answered(folder: Path, n: int, question: str) -> None:
    """Ask one question, and print seconds and the peak of memory before and after, MiB."""
    from lucidvi.model import SCVI

    cells = read_h5ad(folder / f"{n}.h5ad", backed="r")
    model = SCVI.load(folder / "model", adata=cells)
    before = peak_mib()
    start, cpu = time.perf_counter(), time.process_time()
    QUESTIONS[question](model, cells)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "before": before, "after": peak_mib()}))


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cells, to try the script")
    parser.add_argument("--one", nargs=3, metavar="ARGUMENT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if given.one:
        return answered(Path(given.one[0]), int(given.one[1]), given.one[2])
    sizes = QUICK if given.quick else SIZES
    rows = []
    with TemporaryDirectory() as folder:
        for n in sizes:
            written(Path(folder) / f"{n}.h5ad", n, BLOCK)
        trained(Path(folder) / f"{sizes[0]}.h5ad", Path(folder) / "model")
        for n in sizes:
            for question in QUESTIONS:
                command = [sys.executable, __file__, "--one", folder, str(n), question]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr)
                found = json.loads(done.stdout.splitlines()[-1])
                rows.append(
                    [question, f"{n:,}", f"{found['wall']:.0f}", f"{found['cpu']:.0f}"]
                    + [f"{found[when]:,.0f}" for when in ("before", "after")]
                )
                print(rows[-1], flush=True)
    report(page("million.md", given.quick), lines(rows))
    return None


def lines(rows: list[list[str]]) -> list[str]:
    """Lines of the page."""
    return [
        "# A million cells on disk",
        "",
        f"Questions to a model of simulated cells ({N_GENES:,} genes, a tenth of the counts not "
        "zero, five groups) that are read from an uncompressed file (backed), each in a fresh "
        f"process. The model was trained on {N_TRAINED:,} of them. MiB: peak of the process, "
        "before and at the end.",
        "",
        *table(["", "cells", "seconds", "CPU seconds", "MiB before", "MiB"], rows),
        "",
        f"`python benchmarks/million.py` on {cpu_model()}, {os.cpu_count()} cores.",
    ]


if __name__ == "__main__":
    main()
