"""How long LucidVI trains until it is as good as scvi-tools' SCVI after its whole training.

``python benchmarks/time_to_quality.py`` rewrites ``benchmarks/time_to_quality.md``, with
``--pooled`` ``benchmarks/time_to_quality_pooled.md``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

import numpy as np
from _data import read
from _measure import (
    CACHE,
    Result,
    Task,
    alternate,
    machine,
    page,
    ratios,
    report,
    spread,
    table,
    task,
    warm_up,
)

DATA = {"name": "pbmc4k_top2000"}
POOLED = {"pool": ["lupus_t", "pbmc_facs", "pbmc3k"]}
EPOCHS, EPOCHS_POOLED = (10, 15, 20, 30), (2, 3, 5, 10)
SCVI, DEFAULT = "scVI, default", "LucidVI, default"
#: A batch of 1,024 is what scvi-tools' maintainers advise for speed (its issue 2726); the learning
#: rate goes with it, since at 1e-3 so few updates would end far from the optimum.
FASTER = "scVI, batch 1,024"
FASTER_TRAIN = {
    "batch_size": 1_024,
    "max_epochs": 400,
    "early_stopping": True,
    "plan_kwargs": {"lr": 4e-3},
}
OF_SCVI = (SCVI, FASTER)


def name_of(epochs: int) -> str:
    """Name of a shorter training."""
    return f"LucidVI, {epochs} epochs"


def tasks(data: dict[str, Any], quick: bool, epochs: list[int]) -> dict[str, Task]:
    """All trainings by name, on the same split."""
    trains: dict[str, tuple[str, dict[str, Any]]] = {
        SCVI: ("scvi", {"max_epochs": 3} if quick else {}),
        FASTER: ("scvi", {**FASTER_TRAIN, **({"max_epochs": 3} if quick else {})}),
        **{name_of(n): ("lucidvi", {"preset": "lucid", "max_epochs": n}) for n in epochs},
        DEFAULT: ("lucidvi", {"preset": "lucid", **({"max_epochs": 4} if quick else {})}),
    }
    return {
        name: task(library, data, train=train, split=0, evaluate=True)
        for name, (library, train) in trains.items()
    }


def repeat(all_tasks: dict[str, Task], n_scvi: int, n_lucid: int) -> dict[str, list[Result]]:
    """Run all of them in turn, each round with a seed of its own but the same cells held out."""
    measured: dict[str, list[Result]] = {name: [] for name in all_tasks}
    for seed in range(max(n_scvi, n_lucid)):
        print(f"seed {seed}", flush=True)
        wanted = {name: n_scvi if name in OF_SCVI else n_lucid for name in all_tasks}
        chosen = {
            name: {**one, "seed": seed} for name, one in all_tasks.items() if seed < wanted[name]
        }
        for name, results in alternate(chosen, 1).items():
            measured[name] += results
    return measured


def log_px(results: list[Result]) -> float:
    """Mean held-out log p(x)."""
    return float(np.mean([result["log_px"] for result in results]))


def against(theirs: list[Result], ours: list[Result]) -> np.ndarray:
    """How many times faster each of our runs was than scVI's of the same round, or its last."""
    seconds = [theirs[min(i, len(theirs) - 1)]["seconds"] for i in range(len(ours))]
    return ratios(seconds, [result["seconds"] for result in ours])


def row(name: str, measured: dict[str, list[Result]]) -> list[str]:
    """One line of the table."""
    results, theirs = measured[name], measured[SCVI]
    return [
        name,
        str(results[0]["n_epochs"]),
        f"{results[0]['n_steps']:,}",
        spread([result["seconds"] for result in results], ".1f"),
        spread([result["log_px"] for result in results]),
        "" if name == SCVI else f"{log_px(results) - log_px(theirs):+.2f}",
        "" if name == SCVI else spread(against(theirs, results), ".1f"),
    ]


def verdict(measured: dict[str, list[Result]]) -> str:
    """Name the shortest training that is as good as scVI's."""
    target = log_px(measured[SCVI])
    reached = [
        (results[0]["n_epochs"], name)
        for name, results in measured.items()
        if name not in OF_SCVI and log_px(results) >= target
    ]
    if not reached:
        return "None of these trainings of LucidVI reaches scVI's held-out log p(x)."
    name = min(reached)[1]
    return (
        f"The shortest training that reaches scVI's held-out log p(x) is **{name}**: "
        f"{spread((r['seconds'] for r in measured[name]), '.1f')} s in place of "
        f"{spread((r['seconds'] for r in measured[SCVI]), '.1f')} s, "
        f"**{spread(against(measured[SCVI], measured[name]), '.1f')} times faster**."
    )


def lines(measured: dict[str, list[Result]], cells: str, command: str) -> list[str]:
    """Text of the page."""
    clock = "CPU seconds" if measured[DEFAULT][0]["threads"] == 1 else "seconds"
    header = ["", "epochs", "updates", "training, s", "log p(x)", "- scVI's", "times faster"]
    return [
        "# Time to the same quality",
        "",
        f"{cells}, NB. Each training is a fresh process, in "
        f"turn; the {clock} are those of the whole `train()`. Held-out log p(x) in nats a cell, "
        "importance-weighted with 100 draws by LucidVI's estimator, on the same tenth of the "
        "cells for all; higher is better. Median and range of "
        f"{len(measured[SCVI])} (scVI) and {len(measured[DEFAULT])} (LucidVI) seeds; the "
        "difference is that of the means. *scVI, batch 1,024* trains at most 400 epochs at a "
        "learning rate of 4e-3 and stops early; that batch is what scvi-tools' maintainers "
        "advise for speed.",
        "",
        *table(header, [row(name, measured) for name in measured]),
        "",
        verdict(measured),
        "",
        f"`{command}` on {machine(measured[DEFAULT][0])}",
    ]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scvi-repeats", type=int, default=1)
    parser.add_argument("--lucid-repeats", type=int, default=3)
    parser.add_argument("--epochs", nargs="+", type=int)
    parser.add_argument("--pooled", action="store_true", help="PBMC of five batches, 22,325 cells")
    parser.add_argument("--quick", action="store_true", help="tiny data, to try the script")
    given = parser.parse_args()
    data = POOLED if given.pooled else DATA
    epochs = given.epochs or list(EPOCHS_POOLED if given.pooled else EPOCHS)
    if given.quick:
        data, epochs = {"n_cells": 300, "n_genes": 100}, [2, 3]
    else:
        warm_up()
    CACHE.mkdir(exist_ok=True)
    todo = tasks(data, given.quick, epochs)
    measured = repeat(todo, given.scvi_repeats, given.lucid_repeats)
    shape = read(data)
    name = " + ".join(f"`{name}`" for name in data.get("pool", [data.get("name", "simulated")]))
    cells = f"{shape.n_obs:,} cells x {shape.n_vars:,} genes ({name})"
    command = shlex.join(["python", "benchmarks/time_to_quality.py", *sys.argv[1:]])
    file = "time_to_quality_pooled.md" if given.pooled else "time_to_quality.md"
    report(page(file, given.quick), lines(measured, cells, command))


if __name__ == "__main__":
    main()
