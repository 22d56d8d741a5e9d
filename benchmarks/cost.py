"""What a cell costs, and from it what atlases of any size do: seconds, memory, disk and money.

``python benchmarks/cost.py`` rewrites ``benchmarks/cost.md``.
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
from typing import Any

os.environ["TQDM_DISABLE"] = "1"
os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from _data import simulated
from _measure import cpu_model, page, report, table
from _worker import peak_mib
from anndata import AnnData
from scipy.optimize import nnls

SEED, N_CELLS = 0, 20_000
GRID = [(genes, density) for genes in (1_000, 2_000, 4_000) for density in (0.04, 0.12)]
#: Numbers of cells between which the growth of memory is taken, and their genes.
GROWTH, FEW_GENES = (100_000, 600_000), 200
WAYS = ("memory", "h5ad", "gzip")
STEPS = ("set up", "train, an epoch", "latent states")
#: Sizes that nobody measured here, and of what cells.
SIZES, GENES, NON_ZERO = (10**6, 10**7, 10**8, 10**9), 2_000, 300
#: Assumed price of an hour of one core, US dollars.
CORE_HOUR = 0.05


def measured(file: str, way: str) -> dict[str, Any]:
    """Set up, train for two epochs and ask; CPU microseconds a cell by step, and memory."""
    import scvi
    from anndata import read_h5ad
    from lightning.pytorch.callbacks import Callback

    from lucidvi.data import open_cells
    from lucidvi.model import SCVI

    class Epochs(Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_epoch_start(self, *_: Any) -> None:
            self.times.append(time.process_time())

        on_train_end = on_train_epoch_start

    scvi.settings.seed = SEED
    SCVI.setup_anndata(open_cells(file))  # what is loaded and compiled once is no cell's
    start = time.process_time()
    cells = read_h5ad(file) if way == "memory" else open_cells(file)
    SCVI.setup_anndata(cells)
    found = {"set up": (time.process_time() - start) / cells.n_obs}
    model = SCVI(cells)
    epochs = Epochs()
    model.train(max_epochs=2, enable_progress_bar=False, callbacks=[epochs])
    last = epochs.times[-1] - epochs.times[-2]
    found["train, an epoch"] = last / len(model.train_indices)
    start = time.process_time()
    model.get_latent_representation()
    found["latent states"] = (time.process_time() - start) / cells.n_obs
    return {name: 1e6 * value for name, value in found.items()} | {"peak": peak_mib()}


def one(file: Path, way: str) -> dict[str, Any]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--one", str(file), way]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cells, to try the script")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if given.one:
        print(json.dumps(measured(*given.one)))
        return
    n_cells = 1_000 if given.quick else N_CELLS
    growth = (1_000, 3_000) if given.quick else GROWTH
    rows: list[dict[str, Any]] = []
    peaks: list[float] = []
    with TemporaryDirectory() as folder:
        for genes, density in GRID:
            counts = simulated(n_cells, genes, SEED, density).astype(np.float32)
            for way in WAYS:
                file = Path(folder) / f"{way}.h5ad"
                AnnData(counts).write_h5ad(file, compression="gzip" if way == "gzip" else None)
                row = {"genes": genes, "non-zero": counts.nnz / n_cells, "way": way}
                row |= {"disk": file.stat().st_size / n_cells} | one(file, way)
                rows.append(row)
                print(row, flush=True)
        for n in growth:
            file = Path(folder) / "growth.h5ad"
            AnnData(simulated(n, FEW_GENES, SEED)).write_h5ad(file)
            peaks.append(one(file, "h5ad")["peak"])
    growth_of_memory = 2**20 * (peaks[1] - peaks[0]) / (growth[1] - growth[0])
    report(page("cost.md", given.quick), lines(rows, peaks[0], growth_of_memory))


def fitted(rows: list[dict[str, Any]], step: str) -> tuple[np.ndarray, float]:
    """Fit cost = a + b genes + c counts, none negative, in relative error; return that, too."""
    design = np.array([[1.0, row["genes"], row["non-zero"]] for row in rows])
    cost = np.array([row[step] for row in rows])
    coefficients, _ = nnls(design / cost[:, None], np.ones(len(rows)))
    return coefficients, float(np.abs(design @ coefficients / cost - 1).max())


def n_epochs(n: int) -> int:
    """Epochs of the default training, of one batch."""
    from lucidvi.train import PRESETS

    return PRESETS["lucid"](n, 1).max_epochs(n)


def lines(rows: list[dict[str, Any]], base: float, growth: float) -> list[str]:
    """Lines of the page."""
    costs, found = [], {}
    for way in WAYS:
        for step in STEPS:
            those = [row for row in rows if row["way"] == way]
            (constant, a_gene, a_count), error = fitted(those, step)
            found[way, step] = constant + a_gene * GENES + a_count * NON_ZERO
            numbers = f"{constant:.1f}", f"{1e3 * a_gene:.2f}", f"{1e3 * a_count:.1f}"
            costs.append([way, step, *numbers, f"{error:.0%}", f"{found[way, step]:.0f}"])
    disk = {
        way: np.mean([r["disk"] / r["non-zero"] for r in rows if r["way"] == way]) for way in WAYS
    }
    plans = []
    for n in SIZES:
        seconds = (
            n
            * 1e-6
            * (
                found["gzip", "set up"]
                + n_epochs(n) * found["gzip", "train, an epoch"]
                + found["gzip", "latent states"]
            )
        )
        plans.append(
            [f"{n:,}", n_epochs(n), f"{seconds / 3600:,.1f}", f"{seconds / 3600 * CORE_HOUR:,.2f}"]
            + [f"{(base * 2**20 + n * growth) / 2**30:,.1f}"]
            + [f"{n * NON_ZERO * disk[way] / 2**30:,.0f}" for way in ("h5ad", "gzip")]
        )
    return [
        "# What a cell costs",
        "",
        f"Simulated cells ({N_CELLS:,}), {GRID[0][0]:,} to {GRID[-1][0]:,} genes, "
        f"{GRID[0][1]:.0%} and {GRID[1][1]:.0%} of the counts not zero; one thread, each in a "
        "fresh process, defaults but for two epochs. CPU microseconds a cell, fitted as a "
        "constant, a part for each gene and one for each count that is not zero; the largest "
        f"relative error of the fit; and a cell of {GENES:,} genes, {NON_ZERO} not zero.",
        "",
        *table(
            ["where", "step", "constant", "1,000 genes", "1,000 counts", "error", "this cell"],
            costs,
        ),
        "",
        f"On disk a count takes {disk['h5ad']:.1f} bytes, with gzip {disk['gzip']:.1f}. Memory "
        f"with cells in a file: {base:,.0f} MiB for {GROWTH[0]:,} cells, and {growth:,.0f} bytes "
        "for each more: the tables, names and results, not the counts.",
        "",
        "## Past this machine",
        "",
        f"From these, not measured: cells of {GENES:,} genes, {NON_ZERO} not zero, in gzipped "
        "files, default training of one batch, set up, trained and asked for latent states by one "
        "thread. Processes on several cores or machines share the time. Assumed: no slower disk "
        f"than here, and US$ {CORE_HOUR} for an hour of a core. What was run: `out_of_core.md`.",
        "",
        *table(
            ["cells", "epochs", "core hours", "US$", "memory, GiB", "disk, GiB", "gzip, GiB"],
            plans,
        ),
        "",
        f"`python benchmarks/cost.py` on {cpu_model()}, {os.cpu_count()} cores.",
    ]


if __name__ == "__main__":
    main()
