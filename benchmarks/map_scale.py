"""Seconds and memory to map large queries out of a file.

``python benchmarks/map_scale.py`` rewrites ``benchmarks/map_scale.md``.
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

import numpy as np
from _data import simulated
from _measure import cpu_model, page, report, table
from _worker import peak_mib
from anndata import AnnData, read_h5ad

SEED, N_GENES, N_KNOWN, EPOCHS = 0, 2_000, 10_000, 20
SIZES = (1_000, 10_000, 50_000, 200_000)
QUICK = (200, 400)


def prepare(folder: Path, sizes: tuple[int, ...]) -> None:
    """Write a reference of two batches, and queries, half of their cells of a third batch."""
    import scvi
    from sklearn.cluster import KMeans

    from lucidvi.atlas import Reference
    from lucidvi.model import SCVI

    counts = simulated(N_KNOWN + max(sizes), N_GENES, SEED).astype(np.float32)
    known = AnnData(counts[:N_KNOWN])
    known.obs["batch"] = np.where(np.arange(N_KNOWN) % 2, "a", "b")
    scvi.settings.seed = SEED
    SCVI.setup_anndata(known, batch_key="batch")
    model = SCVI(known)
    model.train(max_epochs=EPOCHS, enable_progress_bar=False)
    clusters = KMeans(8, n_init=3, random_state=SEED).fit_predict(
        model.get_latent_representation()
    )
    known.obs["cell_type"] = clusters.astype(str)
    Reference.from_model(model, "cell_type").save(folder / "reference")
    for n in sizes:
        query = AnnData(counts[N_KNOWN : N_KNOWN + n])
        query.obs["batch"] = np.where(np.arange(n) % 2, "a", "new")
        query.write_h5ad(folder / f"{n}.h5ad")


def mapped(folder: Path, n: int) -> None:
    """Map a query, and print seconds and the peak of memory before and after, MiB."""
    from lucidvi.atlas import Reference

    reference = Reference.load(folder / "reference")
    query = read_h5ad(folder / f"{n}.h5ad", backed="r")
    before = peak_mib()
    start, cpu = time.perf_counter(), time.process_time()
    reference.map(query, batch_key="batch")
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "before": before, "after": peak_mib()}))


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cells, to try the script")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "N"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if given.one:
        return mapped(Path(given.one[0]), int(given.one[1]))
    sizes = QUICK if given.quick else SIZES
    rows = []
    with TemporaryDirectory() as folder:
        prepare(Path(folder), sizes)
        for n in sizes:
            command = [sys.executable, __file__, "--one", folder, str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append(
                [f"{n:,}", f"{found['wall']:.0f}", f"{found['cpu']:.0f}"]
                + [f"{1e3 * found['cpu'] / n:.1f}"]
                + [f"{found[when]:,.0f}" for when in ("before", "after")]
            )
            print(rows[-1], flush=True)
    report(page("map_scale.md", given.quick), lines(rows))
    return None


def lines(rows: list[list[str]]) -> list[str]:
    """Lines of the page."""
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return [
        "# Large queries",
        "",
        f"`Reference.map` of simulated cells ({N_GENES:,} genes, a tenth of the counts not zero) "
        f"that are read from a file (backed), half of them of a batch that the reference of "
        f"{N_KNOWN:,} cells and two batches does not know. MiB: peak of the process, before "
        "and at the end; each size in a fresh process.",
        "",
        *table(["cells", "seconds", "CPU seconds", "CPU ms a cell", "MiB before", "MiB"], rows),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}. "
        "`python benchmarks/map_scale.py`",
    ]


if __name__ == "__main__":
    main()
