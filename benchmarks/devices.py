"""Two processes that train a model together, beside one: held-out quality and speed, on the CPU.

Run it with ``python benchmarks/devices.py``; it rewrites ``benchmarks/devices.md``. Each process
has one thread.
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
N_CELLS, N_GENES, N_REPEATS = 200_000, 2_000, 2
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
    """Cells a second by one process, two together, and two that know nothing of each other."""
    ways = {
        way: task("lucidvi", data, train={**train, "max_epochs": 2, "batch_size": batch_size})
        for way, train in WAYS.items()
    }
    found = {way: n_cells / epoch_seconds(run(one)) for way, one in ways.items()}
    for name, of_each in (("apart", batch_size), ("halves", batch_size // 2)):
        alone = {**WAYS["one"], "max_epochs": 2, "batch_size": of_each}
        with ThreadPoolExecutor(2) as threads:
            both = list(threads.map(run, [task("lucidvi", data, train=alone)] * 2))
        found[name] = sum(n_cells / epoch_seconds(result) for result in both)
    return found


def speed(n_cells: int, repeats: int) -> tuple[list[list[str]], dict[int, list[float]]]:
    """Rows of cells a second by minibatch, and ratios of two processes to one."""
    rows, ratios = [], {}
    with tempfile.TemporaryDirectory() as folder:
        data = store(Path(folder, "cells.npz"), n_cells=n_cells, n_genes=N_GENES)
        n_trained = round(0.9 * n_cells)
        for batch_size in BATCH_SIZES:
            runs = []
            for _ in range(repeats):
                load = os.getloadavg()[0]
                runs.append(cells_a_second(data, n_trained, batch_size) | {"load": load})
                print("  ", batch_size, runs[-1])
            ratios[batch_size] = [each["two"] / each["one"] for each in runs]
            rows.append(
                [
                    batch_size,
                    spread((each["one"] for each in runs), ",.0f"),
                    spread((each["two"] for each in runs), ",.0f"),
                    spread(ratios[batch_size]),
                    spread(each["apart"] / each["one"] for each in runs),
                    spread(each["halves"] / each["one"] for each in runs),
                    spread((each["load"] for each in runs), ".1f"),
                ]
            )
    return rows, ratios


def main() -> None:
    """Measure and write the page."""
    quick = "--quick" in sys.argv
    warm_up()
    data, seeds = (DATA[:1], SEEDS[:1]) if quick else (DATA, SEEDS)
    rows, differences = quality(data, seeds)
    of_speed, ratios = speed(10_000 if quick else N_CELLS, 1 if quick else N_REPEATS)
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
                    "two apart / one",
                    "two apart, half minibatches / one",
                    "load at the start",
                ],
                of_speed,
            ),
            "",
            f"{WANTED} times one process was {speeds}: the best is {best:.2f}. Two apart are two "
            "processes that know nothing of each other, the ceiling of this machine; with half "
            "minibatches each updates all weights after as few cells as one of two together, "
            "the ceiling where messages cost nothing. Second epochs, medians with ranges over "
            f"{N_REPEATS} turns.",
            "",
            f"`python benchmarks/devices.py` on {machine(result)}",
        ],
    )


if __name__ == "__main__":
    main()
