"""Seconds an epoch and peak memory of scvi-tools' SCVI and LucidVI's, on the CPU.

``python benchmarks/speed.py`` rewrites ``benchmarks/speed.md`` and ``benchmarks/speed.png``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _data import store
from _figure import draw
from _measure import (
    SAME,
    Result,
    alternate,
    by_library,
    epoch_seconds,
    machine,
    page,
    ratios,
    report,
    spread,
    table,
    task,
    warm_up,
)

TOP = {"name": "pbmc4k_top2000"}
ALL = {"name": "pbmc3k"}
N_CELLS = (1_000, 10_000, 100_000)
N_GENES = (500, 2_000, 10_000, 30_000)
#: About how many minibatches a growth measurement may take besides the first epoch.
N_STEPS = 60
BY_DEFAULT = "2,000 genes, ZINB, each by its defaults"


@dataclass(frozen=True)
class Comparison:
    """Both libraries on the same data.

    Parameters
    ----------
    name
        What is compared.
    data
        See :func:`_data.read`.
    likelihood
        Of both models.
    epochs
        Epochs, of which the first is left out.
    repeats
        Pairs of runs.
    arguments
        Arguments of ``train`` by library.
    """

    name: str
    data: dict[str, Any]
    likelihood: str = "nb"
    epochs: int = 7
    repeats: int = 1
    arguments: dict[str, dict[str, Any]] = field(default_factory=lambda: SAME)

    def run(self) -> dict[str, list[Result]]:
        """Measure in turn; results by library."""
        print(self.name)
        tasks = {
            library: task(
                library,
                self.data,
                likelihood=self.likelihood,
                train={"max_epochs": self.epochs, **arguments},
            )
            for library, arguments in self.arguments.items()
        }
        return alternate(tasks, self.repeats)


def with_batch_size(size: int) -> dict[str, dict[str, Any]]:
    """Train in the same way, with other minibatches."""
    return {library: {**given, "batch_size": size} for library, given in SAME.items()}


def comparisons() -> list[Comparison]:
    """List what the first table compares, on real data."""
    few, many, large = "2,000 genes", "13,714 genes", with_batch_size(1_024)
    return [
        Comparison(f"{few}, NB, batch 128", TOP, repeats=2),
        Comparison(f"{few}, ZINB, batch 128", TOP, "zinb", repeats=2),
        Comparison(f"{few}, NB, batch 1,024", TOP, arguments=large),
        Comparison(BY_DEFAULT, TOP, "zinb", arguments={"scvi": {}, "lucidvi": {}}),
        Comparison(f"{many}, NB, batch 128", ALL, epochs=4),
        Comparison(f"{many}, ZINB, batch 128", ALL, "zinb", epochs=4),
        Comparison(f"{many}, NB, batch 1,024", ALL, epochs=4, arguments=large),
    ]


def growth(n_cells: tuple[int, ...], n_genes: tuple[int, ...], folder: str) -> dict[str, Any]:
    """Measure simulated data of several sizes; results by what grows, and by size."""
    sizes = {"cells": [(n, 2_000) for n in n_cells], "genes": [(2_000, n) for n in n_genes]}
    measured: dict[str, Any] = {}
    for axis, shapes in sizes.items():
        measured[axis] = {}
        for cells, genes in shapes:
            file = Path(folder) / f"{cells}x{genes}.npz"
            data = store(file, n_cells=cells, n_genes=genes)
            epochs = 1 + max(1, min(10, round(N_STEPS * 128 / cells)))
            name = f"{cells:,} simulated cells x {genes:,} genes"
            results = Comparison(name, data, epochs=epochs, repeats=1).run()
            measured[axis][cells if axis == "cells" else genes] = results
    return measured


def speed_row(name: str, results: dict[str, list[Result]]) -> list[str]:
    """Seconds an epoch, and how much longer scvi-tools takes."""
    ours, theirs = (spread(x, ".3f") for x in reversed(by_library(results, epoch_seconds)))
    return [name, theirs, ours, spread(ratios(*by_library(results, epoch_seconds)))]


def memory_row(name: str, results: dict[str, list[Result]]) -> list[str]:
    """Peak memory, and how much of it came with the training."""
    peaks = by_library(results, lambda result: result["rss_peak"])
    added = by_library(results, lambda result: result["rss_peak"] - result["rss_before"])
    return [name, *(spread(x, ",.0f") for x in (*peaks, *added))]


def whole_training(rows: dict[str, Any]) -> str:
    """Say how long each library's default training is, from the seconds an epoch."""
    if BY_DEFAULT not in rows:
        return ""
    theirs, ours = (rows[BY_DEFAULT][library] for library in SAME)
    epochs = [runs[0]["default_epochs"] for runs in (theirs, ours)]
    faster = ratios(*by_library(rows[BY_DEFAULT], epoch_seconds)) * epochs[0] / epochs[1]
    return (
        f"By default scVI trains {epochs[0]} epochs on these 2,000 genes and LucidVI {epochs[1]}, "
        f"so that LucidVI's whole training is {spread(faster, '.0f')} times shorter. What it is "
        "worth: `quality.md`, `time_to_quality.md`."
    )


def lines(rows: dict[str, Any], grown: dict[str, Any]) -> list[str]:
    """Text of the page."""
    first = next(iter(rows.values()))["lucidvi"][0]
    time_header = ["", "scVI, s", "LucidVI, s", "ratio"]
    memory_header = ["", "scVI peak", "LucidVI peak", "scVI added", "LucidVI added"]
    sizes = [
        [axis, f"{size:,}", *speed_row("", results)[1:]]
        for axis, by_size in grown.items()
        for size, results in by_size.items()
    ]
    return [
        "# Speed and memory on the CPU",
        "",
        "Real data: 4,271 PBMC x 2,000 genes (`pbmc4k_top2000`) and 2,700 PBMC x 13,714 genes "
        "(`pbmc3k`). Both libraries train by scvi-tools' schedule, unless said otherwise; each "
        "run is a fresh process, in turn scVI, LucidVI, scVI, ... A run's figure is its median "
        "epoch, the first left out; of several runs, the median and the range. The ratio is taken "
        "pair by pair.",
        "",
        *(
            ["![Seconds an epoch as cells and genes grow, and ratios](speed.png)", ""]
            * bool(grown)
        ),
        "## Seconds an epoch",
        "",
        *table(time_header, [speed_row(name, results) for name, results in rows.items()]),
        "",
        whole_training(rows),
        "",
        "## Memory, MiB",
        "",
        "Peak of the resident memory while training, and how far it is above what the process "
        "held before.",
        "",
        *table(memory_header, [memory_row(name, results) for name, results in rows.items()]),
        "",
        *growth_lines(sizes),
        f"`python benchmarks/speed.py{'' if grown else ' --no-growth'}` on {machine(first)}",
    ]


def growth_lines(sizes: list[list[str]]) -> list[str]:
    """Section on simulated data, if they were measured."""
    if not sizes:
        return []
    return [
        "## Growth, seconds an epoch",
        "",
        "Simulated counts, a tenth of them not zero, NB, batch 128: cells x 2,000 genes, and "
        "2,000 cells x genes; one run each.",
        "",
        *table(["grows", "to", "scVI, s", "LucidVI, s", "ratio"], sizes),
        "",
    ]


def main() -> None:
    """Measure, and write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny data, to try the script")
    parser.add_argument("--no-growth", action="store_true", help="real data alone")
    given = parser.parse_args()
    quick = given.quick
    if quick:
        tiny = {"n_cells": 300, "n_genes": 100}
        chosen = [Comparison("300 cells, 100 genes", tiny, epochs=2, repeats=2)]
    else:
        warm_up()
        chosen = comparisons()
    rows = {one.name: one.run() for one in chosen}
    grown: dict[str, Any] = {}
    if not given.no_growth:
        with TemporaryDirectory() as folder:
            sizes = ((200, 400), (50, 100)) if quick else (N_CELLS, N_GENES)
            grown = growth(*sizes, folder)
    report(page("speed.md", quick), lines(rows, grown))
    if grown:
        draw(rows, grown, page("speed.png", quick))


if __name__ == "__main__":
    main()
