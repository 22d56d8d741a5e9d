"""Training and queries of cells in a file: speed and memory, and what its order of cells costs.

``python benchmarks/out_of_core.py`` rewrites ``benchmarks/out_of_core.md`` from both parts, which
``--part shuffling`` and ``--part scale`` run alone and keep in ``.cache``.
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
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from _data import load
from _measure import CACHE, cpu_model, mean_sd, page, report, spread, table
from _worker import held_out, peak_mib
from million import N_GENES, written

PARTS = ("shuffling", "scale")
SEEDS = (0, 1, 2)
#: Real data, and the columns by which their cells are sorted: the order that is worst to read in.
SORTED = {"lupus_t": ["batch", "donor", "cell_type"], "onek1k_40donors": ["donor", "cell_type"]}
#: Cells of a block and of the buffer; None for cells in memory, shuffled altogether.
SHUFFLES: dict[str, tuple[int, int] | None] = {
    "all cells": None,
    "8 blocks of 128": (128, 1_024),
    "32 blocks of 128": (128, 4_096),
}
SIZES, REPEATS, BLOCK = (200_000, 2_000_000), 2, 20_000
WAYS = ("memory", "h5ad", "h5ad, gzip", "zarr")
QUESTIONS = ("latent states", "log p(x) of 10,000 cells", "normalized expression of 20 genes")


def shuffled(name: str, shuffle: str, seed: int) -> dict[str, Any]:
    """Train on sorted cells, and return how good the model is for those held out."""
    import scvi
    from anndata import read_h5ad

    from lucidvi.model import SCVI

    with TemporaryDirectory() as folder:
        cells = load(name)
        order = cells.obs.sort_values(SORTED[name], kind="stable").index
        cells = cells[order].copy()
        cells.write_h5ad(Path(folder) / "cells.h5ad")
        options: dict[str, int] = {}
        if SHUFFLES[shuffle] is not None:
            cells = read_h5ad(Path(folder) / "cells.h5ad", backed="r")
            options = dict(zip(("block_size", "buffer_size"), SHUFFLES[shuffle], strict=True))
        scvi.settings.seed = seed
        SCVI.setup_anndata(cells, batch_key=SORTED[name][0])
        model = SCVI(cells)
        model.train(enable_progress_bar=False, datasplitter_kwargs=options)
        return held_out(model)


def trained(folder: Path, n: int, way: str) -> dict[str, Any]:
    """Train for an epoch, and ask; seconds, cells a second and peaks of memory, MiB."""
    import scvi
    from anndata import read_h5ad
    from lightning.pytorch.callbacks import Callback

    from lucidvi.data import open_cells
    from lucidvi.model import SCVI

    class Epochs(Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_epoch_start(self, *_: Any) -> None:
            self.times.append(time.perf_counter())

        on_train_end = on_train_epoch_start

    scvi.settings.seed = 0
    file = folder / name_of(n, way)
    before, start = peak_mib(), time.perf_counter()
    cells = read_h5ad(file) if way == "memory" else open_cells(file)
    SCVI.setup_anndata(cells)
    found: dict[str, Any] = {"before": before, "setup": time.perf_counter() - start}
    model = SCVI(cells)
    model.train(max_epochs=1, enable_progress_bar=False, callbacks=[epochs := Epochs()])
    first, stop = epochs.times
    found |= {"rate": len(model.train_indices) / (stop - first), "trained": peak_mib()}
    some = np.sort(np.random.default_rng(0).permutation(n)[:10_000])
    for question in QUESTIONS:
        start = time.perf_counter()
        if question == QUESTIONS[0]:
            model.get_latent_representation()
        elif question == QUESTIONS[1]:
            model.get_marginal_ll(indices=some, n_mc_samples=10)
        else:
            model.get_normalized_expression(gene_list=list(cells.var_names[:20]))
        found[question] = time.perf_counter() - start
    return found | {"asked": peak_mib()}


def name_of(n: int, way: str) -> str:
    """Name of the file of some cells."""
    return {"zarr": f"{n}.zarr", "h5ad, gzip": f"{n}-gzip.h5ad"}.get(way, f"{n}.h5ad")


def store(folder: Path, n: int) -> None:
    """Write simulated cells in all ways, block by block."""
    import h5py
    import zarr
    from anndata.io import write_elem

    from lucidvi.data import open_cells

    written(folder / f"{n}.h5ad", n, BLOCK)
    cells = open_cells(folder / f"{n}.h5ad")
    store = zarr.open_group(folder / f"{n}.zarr", mode="w")
    with h5py.File(folder / f"{n}.h5ad") as plain, h5py.File(folder / f"{n}-gzip.h5ad", "w") as gz:
        for file in (store, gz):
            file.attrs.update(dict(plain.attrs))
            for name in ("obs", "var"):
                write_elem(file, name, getattr(cells, name))
            matrix = file.create_group("X")
            matrix.attrs.update(
                {
                    "encoding-type": "csr_matrix",
                    "encoding-version": "0.1.0",
                    "shape": [n, N_GENES],
                }
            )
            write_elem(matrix, "indptr", plain["X/indptr"][:])
            for name in ("data", "indices"):
                values = plain["X"][name]
                if file is gz:
                    how: dict[str, Any] = {"compression": "gzip"}
                    made = matrix.create_dataset(
                        name, values.shape, values.dtype, chunks=(2**17,), **how
                    )
                else:
                    made = matrix.create_array(
                        name, shape=values.shape, dtype=values.dtype, chunks=(2**17,)
                    )
                for first in range(0, len(values), 2**24):
                    made[first : first + 2**24] = values[first : first + 2**24]


def one(arguments: list[str]) -> dict[str, Any]:
    """Run one measurement in a fresh process."""
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def shuffling(quick: bool, _: str | None = None) -> dict[str, Any]:
    """Measure what orders of cells are worth, by data set and order, a number a seed."""
    names, seeds = (("onek1k_40donors",), (0,)) if quick else (tuple(SORTED), SEEDS)
    found: dict[str, Any] = {name: {shuffle: [] for shuffle in SHUFFLES} for name in names}
    for name in names:
        for seed in seeds:
            for shuffle in SHUFFLES:
                found[name][shuffle].append(one(["shuffled", name, shuffle, str(seed)]))
                print(name, seed, shuffle, found[name][shuffle][-1], flush=True)
    return found


def scale(quick: bool, kept: str | None = None) -> dict[str, Any]:
    """Measure speed and memory, by number of cells and where they are, a number a run."""
    sizes, repeats = ((5_000,), 1) if quick else (SIZES, REPEATS)
    found: dict[str, Any] = {}
    with TemporaryDirectory() if kept is None else nullcontext(kept) as folder:
        for n in sizes:
            if not (Path(folder) / name_of(n, "zarr")).exists():
                store(Path(folder), n)
            found[str(n)] = {way: [] for way in WAYS}
            for _ in range(repeats if n < 1_000_000 else 1):
                for way in WAYS:
                    found[str(n)][way].append(one(["trained", folder, str(n), way]))
                    print(n, way, found[str(n)][way][-1], flush=True)
    return found


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, to try the script")
    parser.add_argument("--part", choices=PARTS, help="run this part, with the other as it was")
    parser.add_argument("--folder", help="where files of simulated cells are, and stay")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if given.one:
        what, *arguments = given.one
        if what == "shuffled":
            result = shuffled(arguments[0], arguments[1], int(arguments[2]))
        else:
            result = trained(Path(arguments[0]), int(arguments[1]), arguments[2])
        print(json.dumps(result))
        return
    kept = {part: CACHE / f"out_of_core-{part}{'-quick' * given.quick}.json" for part in PARTS}
    for part in PARTS:
        if given.part in (None, part):
            CACHE.mkdir(exist_ok=True)
            kept[part].write_text(json.dumps(globals()[part](given.quick, given.folder)))
    if all(file.exists() for file in kept.values()):
        both = [json.loads(kept[part].read_text()) for part in PARTS]
        report(page("out_of_core.md", given.quick), lines(*both))


def lines(orders: dict[str, Any], sizes: dict[str, Any]) -> list[str]:
    """Lines of the page."""
    rows = []
    for name, by_order in orders.items():
        full = np.array([one["log_px"] for one in by_order["all cells"]])
        for shuffle, runs in by_order.items():
            log_px = np.array([one["log_px"] for one in runs])
            rows.append([name, shuffle, mean_sd(log_px), mean_sd(log_px - full, "+.2f")])
    speeds, answers = [], []
    for n, by_way in sizes.items():
        memory = np.array([one["rate"] for one in by_way["memory"]])
        for way, runs in by_way.items():
            rates = np.array([one["rate"] for one in runs])
            speeds.append(
                [f"{int(n):,}", way, spread([one["setup"] for one in runs], ".0f")]
                + [spread(rates, ",.0f"), spread(rates / memory)]
                + [f"{max(one[when] for one in runs):,.0f}" for when in ("trained", "asked")]
            )
            answers.append(
                [f"{int(n):,}", way]
                + [spread([one[question] for one in runs], ".1f") for question in QUESTIONS]
            )
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return [
        "# Cells that stay in their file",
        "",
        "## What the order of cells costs",
        "",
        "Real cells, sorted by " + " and ".join(f"{c} ({n})" for n, c in SORTED.items()) + ", so "
        "that cells beside each other are of one kind. They are shuffled altogether, or read "
        "block by block into a buffer of so many blocks and shuffled there; default training. "
        "Log p(x) of the cells held out (importance weighted, 100 draws), nats a cell, and the "
        f"difference from all cells shuffled, mean ± sd over {len(SEEDS)} seeds. By default a "
        "buffer has 64 MB of counts: 320 blocks of 128 cells with 200 counts that are not zero.",
        "",
        *table(["data", "shuffled", "log p(x)", "difference"], rows),
        "",
        "## Speed and memory",
        "",
        f"Simulated cells, {N_GENES:,} genes, a tenth of the counts not zero. One epoch of "
        "training: cells a second, and the ratio to cells in memory, run by run in turn; seconds "
        "to set up, in which every value is looked at; peak of memory in a fresh process, MiB, "
        "after the training and after the questions. In memory the file is read first.",
        "",
        *table(
            ["cells", "where", "setup, s", "cells/s", "of memory's", "MiB trained", "MiB asked"],
            speeds,
        ),
        "",
        "Seconds to answer:",
        "",
        *table(["cells", "where", *QUESTIONS], answers),
        "",
        f"`python benchmarks/out_of_core.py` on {cpu_model()}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={threads}.",
    ]


if __name__ == "__main__":
    main()
