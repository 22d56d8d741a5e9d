"""Seconds an epoch of scvi-tools' SCVI and LucidVI's on an NVIDIA GPU, with a million cells.

``python benchmarks/gpu.py`` rewrites ``benchmarks/gpu.md``. Without a GPU it says so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _data import store
from _measure import SAME, Result, epoch_seconds, machine, page, report, run, spread, table, task

BATCH_SIZES = (128, 1_024, 4_096)
NAMES = {"scvi": "scVI", "lucidvi": "LucidVI"}
HAS_CUDA = "import sys, torch; sys.exit(not torch.cuda.is_available())"

Results = dict[tuple[int, str], list[Result]]


def has_cuda() -> bool:
    """Whether torch sees an NVIDIA GPU; asked in another process, which lets go of it."""
    return subprocess.run([sys.executable, "-c", HAS_CUDA]).returncode == 0


def measure(data: dict[str, Any], given: argparse.Namespace, file: Path) -> None:
    """Measure in turn, and rewrite the page after each run."""
    results: Results = {}
    for _ in range(given.repeats):
        for size in given.batch_sizes:
            for library, same in SAME.items():
                train = {"max_epochs": given.epochs, "batch_size": size, **same}
                result = run(task(library, data, train=train, accelerator=given.accelerator))
                results.setdefault((size, library), []).append(result)
                print(f"{NAMES[library]}, batch {size:,}: {epoch_seconds(result):.2f} s an epoch")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("\n".join([*lines(results, given), ""]))


def row(size: int, library: str, results: list[Result]) -> list[str]:
    """One line of the table."""
    busy = [result["gpu_busy"] for result in results if result.get("gpu_busy") is not None]
    memory = [result["gpu_peak"] for result in results if "gpu_peak" in result]
    per_epoch = [result["n_steps"] / result["n_epochs"] for result in results]
    seconds = [epoch_seconds(result) for result in results]
    steps = [1e3 * s / n for s, n in zip(seconds, per_epoch, strict=True)]
    return [
        f"{size:,}",
        NAMES[library],
        spread(seconds),
        spread(steps),
        spread((100 * value for value in busy), ".0f") if busy else "",
        spread(memory, ",.0f") if memory else "",
        spread((result["rss_peak"] for result in results), ",.0f"),
    ]


def verdict(results: Results) -> list[str]:
    """Ratios at equal batch sizes, and of each library's best."""
    seconds = {key: min(map(epoch_seconds, runs)) for key, runs in results.items()}
    sizes = [size for size, library in seconds if library == "lucidvi"]
    if not sizes:
        return []
    equal = ", ".join(
        f"{seconds[size, 'scvi'] / seconds[size, 'lucidvi']:.1f} (batch {size:,})"
        for size in sizes
    )
    best = {
        library: min((s, size) for (size, lib), s in seconds.items() if lib == library)
        for library in NAMES
    }
    return [
        f"Times faster at equal batch sizes: {equal}. Each at its best batch size "
        f"({best['scvi'][1]:,} and {best['lucidvi'][1]:,}): "
        f"{best['scvi'][0] / best['lucidvi'][0]:.1f}.",
        "",
    ]


def lines(results: Results, given: argparse.Namespace) -> list[str]:
    """Text of the page."""
    header = [
        "batch",
        "",
        "s an epoch",
        "ms an update",
        "GPU busy, %",
        "GPU memory, MiB",
        "memory, MiB",
    ]
    first = next(iter(results.values()))[0]
    return [
        "# Speed on a GPU",
        "",
        f"{given.cells:,} simulated cells x {given.genes:,} genes, a tenth of the counts not "
        f"zero, NB, both by scvi-tools' schedule. Each run is a fresh process of {given.epochs} "
        "epochs, of which the first is left out, in turn scVI, LucidVI, scVI, ... GPU busy is "
        "`nvidia-smi`'s utilization.gpu; GPU memory is what torch allocated at most; memory is "
        "the process's peak in RAM.",
        "",
        *table(header, [row(*key, runs) for key, runs in results.items()]),
        "",
        *verdict(results),
        f"`python benchmarks/gpu.py` on {machine(first)}",
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=3, help="the first is left out")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--output", type=Path, default=page("gpu.md", quick=False))
    parser.add_argument("--quick", action="store_true", help="tiny data, and the CPU will do")
    given = parser.parse_args()
    given.accelerator = "gpu"
    if given.quick:
        given.cells, given.genes, given.batch_sizes = 600, 100, [64, 128]
        given.epochs, given.output = 2, page("gpu.md", quick=True)
        given.accelerator = "gpu" if has_cuda() else "cpu"
    return given


def main() -> None:
    """Measure, and write the page."""
    given = arguments()
    if given.accelerator == "gpu" and not has_cuda():
        print("No NVIDIA GPU that torch can use: nothing was measured.")
        return
    with TemporaryDirectory() as folder:
        data = store(Path(folder) / "counts.npz", n_cells=given.cells, n_genes=given.genes)
        measure(data, given, given.output)
    report(given.output, given.output.read_text().splitlines())


if __name__ == "__main__":
    main()
