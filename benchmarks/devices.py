"""Two processes that train a model together, beside one: held-out quality and speed, on the CPU.

Run it with ``python benchmarks/devices.py``; it rewrites ``benchmarks/devices.md``. Each process
has one thread. ``--turns 1`` measures speed once, and not three times.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from _data import store
from _measure import (
    CACHE,
    epoch_seconds,
    machine,
    page,
    report,
    run,
    run_cached,
    spread,
    table,
    task,
    warm_up,
)

#: Real data, on which held-out quality is compared.
DATA = ("pbmc4k_top2000", "lupus_t")
SEEDS = (0, 1, 2)
#: Most that the mean difference of held-out log p(x) should be, nats a cell.
CLOSE = 0.2
N_CELLS, N_GENES, N_TURNS = 200_000, 2_000, 3
#: Cells a minibatch, of all processes together: the preset's, and one for more devices.
BATCH_SIZES = (128, 1024)
#: Cells a second of two processes in those of one that were hoped for.
WANTED = 1.5
WAYS: dict[str, dict[str, Any]] = {
    "one": {"devices": 1},
    "two": {"devices": 2, "strategy": "ddp"},
}


def quality(data: tuple[str, ...], seeds: tuple[int, ...]) -> tuple[list[list[str]], list[float]]:
    """Rows of held-out log p(x) by one process and by two, and the differences."""
    rows, differences = [], []
    for name in data:
        for seed in seeds:
            found = {
                way: run_cached(
                    task("lucidvi", {"name": name}, train=train, seed=seed, evaluate=True),
                    f"{name}-{seed}-{way}",
                    CACHE / "devices",
                )
                for way, train in WAYS.items()
            }
            log_px = {way: result["log_px"] for way, result in found.items()}
            if found["one"]["cells"] != found["two"]["cells"]:
                raise SystemExit("The cells held out are not the same.")
            differences.append(log_px["two"] - log_px["one"])
            steps = found["one"]["n_steps"], found["two"]["n_steps"]
            cells = [f"{log_px[way]:.2f}" for way in WAYS]
            rows.append([name, seed, *cells, f"{differences[-1]:+.2f}", "{} / {}".format(*steps)])
            print("  ", *rows[-1])
    return rows, differences


def cells_a_second(data: dict[str, Any], n_cells: int, batch_size: int) -> dict[str, float]:
    """Cells a second by one process, two together, and two that know nothing of each other.

    ``cpu`` is what one process computes in all, in what one of two together does: how much faster
    they would be if neither had to wait, which a busy machine can tell too.
    """
    how = {"max_epochs": 1, "batch_size": batch_size}
    found = {
        way: run(task("lucidvi", data, train={**train, **how})) for way, train in WAYS.items()
    }
    speeds = {way: n_cells / epoch_seconds(result) for way, result in found.items()}
    for name, of_each in (("apart", batch_size), ("halves", batch_size // 2)):
        alone = task("lucidvi", data, train={**WAYS["one"], **how, "batch_size": of_each})
        with ThreadPoolExecutor(2) as threads:
            both = list(threads.map(run, [alone] * 2))
        speeds[name] = sum(n_cells / epoch_seconds(result) for result in both)
    cpu = found["one"]["seconds"] / found["two"]["seconds"]
    return speeds | {"cpu": cpu}


def speed(n_cells: int, repeats: int) -> tuple[list[list[str]], dict[int, list[float]]]:
    """Rows of cells a second by minibatch, and ratios of two processes to one."""
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in BATCH_SIZES}
    with tempfile.TemporaryDirectory() as folder:
        data = store(Path(folder, "cells.npz"), n_cells=n_cells, n_genes=N_GENES)
        for _ in range(repeats):
            for size, of_size in runs.items():
                load = os.getloadavg()[0]
                of_size.append(cells_a_second(data, round(0.9 * n_cells), size) | {"load": load})
                print("  ", size, of_size[-1], flush=True)
    rows = [
        [
            size,
            spread((each["one"] for each in of_size), ",.0f"),
            spread((each["two"] for each in of_size), ",.0f"),
            spread(each["two"] / each["one"] for each in of_size),
            spread(each["cpu"] for each in of_size),
            spread(each["apart"] / each["one"] for each in of_size),
            spread(each["halves"] / each["one"] for each in of_size),
            spread((each["load"] for each in of_size), ".1f"),
        ]
        for size, of_size in runs.items()
    ]
    return rows, {size: [each["two"] / each["one"] for each in r] for size, r in runs.items()}


def main() -> None:
    """Measure and write the page."""
    quick = "--quick" in sys.argv
    turns = int(sys.argv[sys.argv.index("--turns") + 1]) if "--turns" in sys.argv else N_TURNS
    warm_up()
    data, seeds = (DATA[:1], SEEDS[:1]) if quick else (DATA, SEEDS)
    rows, differences = quality(data, seeds)
    of_speed, ratios = speed(10_000 if quick else N_CELLS, 1 if quick else turns)
    result = run(task("lucidvi", {"n_cells": 300, "n_genes": 50}, train={"max_epochs": 1}))
    means = [np.mean(differences[i::1][: len(seeds)]) for i in range(0, len(rows), len(seeds))]
    close = "less" if max(map(abs, means)) < CLOSE else "MORE"
    best = max(float(np.median(values)) for values in ratios.values())
    speeds = "reached" if best >= WANTED else "NOT reached"
    report(
        page("devices.md", quick),
        [
            "# Two processes that train together, beside one",
            "",
            '`model.train(devices=2, strategy="ddp", accelerator="cpu")`, one thread a process, '
            "messages by gloo. Minibatches, steps and schedules are those of one process.",
            "",
            "## Held-out log p(x), nats a cell",
            "",
            *table(["data", "seed", "one", "two", "difference", "steps"], rows),
            "",
            "The mean differences by data set are "
            + ", ".join(f"{mean:+.2f}" for mean in means)
            + f", {close} than {CLOSE} from zero.",
            "",
            f"## Cells a second, {N_CELLS:,} simulated cells x {N_GENES:,} genes",
            "",
            *table(
                [
                    "cells a minibatch",
                    "one process",
                    "two together",
                    "two / one",
                    "by CPU time",
                    "two apart / one",
                    "two apart, half minibatches / one",
                    "load at the start",
                ],
                of_speed,
            ),
            "",
            f"{WANTED} times one process was {speeds}: the best is {best:.2f}. Epochs of one "
            f"training each; turns: {turns}, of which medians and ranges. By CPU time: what one "
            "process computes in what one of two together does, however long they waited. Two "
            "apart are two processes that know nothing of each other, the ceiling of this "
            "machine; with half minibatches each updates all weights after as few cells as one "
            "of two together, the ceiling where messages cost nothing. Other work on the machine "
            "(a load above that of the processes themselves) slows two that wait for each other "
            "most.",
            "",
            f"`python benchmarks/devices.py` on {machine(result)}",
        ],
    )


if __name__ == "__main__":
    main()
