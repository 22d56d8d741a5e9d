"""Measurements, each in a fresh process, and what to write about them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"

Task = dict[str, Any]
Result = dict[str, Any]

#: Trains both libraries in the same way: scvi-tools'.
SAME = {"scvi": {}, "lucidvi": {"preset": "scvi"}}


def task(
    library: str,
    data: dict[str, Any],
    *,
    likelihood: str = "nb",
    train: dict[str, Any] | None = None,
    seed: int = 0,
    split: int | None = None,
    accelerator: str = "cpu",
    evaluate: bool = False,
    labels: str | None = None,
    reference: Path | None = None,
) -> Task:
    """Say what to measure.

    Parameters
    ----------
    library
        ``"scvi"`` or ``"lucidvi"``.
    data
        See :func:`_data.read`.
    likelihood
        ``gene_likelihood`` of the model.
    train
        Arguments of ``train``; what is left out is the library's default.
    seed, split
        Of the initial weights and all else, and of the cells held out (by default the same).
    accelerator
        ``"cpu"`` or ``"gpu"``.
    evaluate
        Compute the held-out ELBO and log p(x).
    labels
        Column of cell types with which to compare the latent space.
    reference
        Saved model of scvi-tools to take instead of training one.
    """
    return {
        "library": library,
        "data": data,
        "model": {"gene_likelihood": likelihood},
        "train": train or {},
        "seed": seed,
        "split": seed if split is None else split,
        "accelerator": accelerator,
        "evaluate": evaluate,
        "labels": labels,
        "reference": None if reference is None else str(reference),
    }


def run(task: Task) -> Result:
    """Measure in a fresh process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "_worker.py"), json.dumps(task)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{task}\nfailed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_cached(task: Task, name: str, folder: Path) -> Result:
    """Measure, or read what an earlier run measured with the same sources and threads.

    Parameters
    ----------
    task
        What to measure.
    name
        Start of the name of the file, for people.
    folder
        Where the file lies.
    """
    code = version("scvi-tools") if task["library"] == "scvi" else digest("src/**/*.py")
    how = [digest("benchmarks/_[bdw]*.py"), os.cpu_count(), os.environ.get("OMP_NUM_THREADS")]
    key = hashlib.sha1(json.dumps([task, code, how], sort_keys=True).encode()).hexdigest()[:12]
    file = folder / f"{name}-{key}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        result = run(task)
        whole = file.with_suffix(".part")
        whole.write_text(json.dumps(result))
        whole.replace(file)
    return json.loads(file.read_text())


@cache
def digest(pattern: str) -> str:
    """Digest of the files of the checkout that match a pattern, as they are at the start."""
    files = sorted(HERE.parent.glob(pattern))
    return hashlib.sha1(b"".join(file.read_bytes() for file in files)).hexdigest()


def alternate(
    tasks: dict[str, Task], repeats: dict[str, int] | int, say: Callable[[str], None] = print
) -> dict[str, list[Result]]:
    """Run the tasks in turn, again and again.

    Parameters
    ----------
    tasks
        By name, in the order of a turn.
    repeats
        Runs of each.
    say
        Told what came out of each run.
    """
    wanted = repeats if isinstance(repeats, dict) else dict.fromkeys(tasks, repeats)
    results: dict[str, list[Result]] = {name: [] for name in tasks}
    for i in range(max(wanted.values())):
        for name, one in tasks.items():
            if i < wanted[name]:
                result = run(one)
                results[name].append(result)
                say(f"  {name}: {epoch_seconds(result):.3f} s an epoch, {result['seconds']:.1f} s")
    return results


def warm_up() -> None:
    """Let both libraries compile and cache what they compile once a machine."""
    for library in SAME:
        tiny = {"n_cells": 300, "n_genes": 50}
        for likelihood in ("nb", "zinb"):
            run(task(library, tiny, likelihood=likelihood, train={"max_epochs": 1}, evaluate=True))


def epoch_seconds(result: Result) -> float:
    """Seconds of the median epoch, the first left out if there is another."""
    return float(np.median(result["epochs"] or [result["first_epoch"]]))


def by_library(results: dict[str, list[Result]], read: Callable[[Result], float]) -> list[Any]:
    """Read one number of each run: first scvi-tools', then LucidVI's."""
    return [[read(result) for result in results[library]] for library in SAME]


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> np.ndarray:
    """Ratios pair by pair, in the order in which they were measured."""
    return np.array([a / b for a, b in zip(numerators, denominators, strict=False)])


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Median, and the range where there is one."""
    values = np.asarray(list(values))
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})"


def mean_sd(values: Iterable[float], form: str = ".2f") -> str:
    """Mean ± standard deviation."""
    values = np.asarray(list(values))
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{values.mean():{form}} ± {values.std(ddof=1):{form.lstrip('+')}}"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def machine(result: Result) -> str:
    """Machine and versions, with the threads (and the GPU) that a measurement used."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "scvi-tools", "lucidvi"))
    gpu = f", {result['gpu']}" if "gpu" in result else ""
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, {result['threads']} threads{gpu}; "
        f"Python {platform.python_version()}, {packages}."
    )


def cpu_model() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def report(file: Path, lines: Iterable[str]) -> None:
    """Write a page, and show it."""
    text = "\n".join([*lines, ""])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    print(text)


def page(name: str, quick: bool) -> Path:
    """Where a script writes: beside itself, or for a trial run among the caches."""
    return (CACHE / "quick" if quick else HERE) / name
