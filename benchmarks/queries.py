"""What it costs to ask a model: latent states, ELBO, expression, refinement, gaps, a reference.

Compares LucidVI with scvi-tools, or with another checkout of LucidVI, on the same cells. Each
measurement is a fresh process with one thread; the two alternate. Written are CPU seconds (median
and range) and the peak of memory above what the process held before.

    python benchmarks/queries.py                      # with scvi-tools
    python benchmarks/queries.py --before ../old/src  # with another checkout
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
#: Questions that scvi-tools' models answer, too; then those that only ours do.
OF_BOTH = (
    "latent",
    "elbo",
    "expression",
    "expression, 10 draws",
    "predictive draws",
    "marginal likelihood, 270 cells",
    "differential expression, one group",
    "differential expression, nine groups",
)
OURS = ("refine", "gap", "audit", "reference", "canonicalize")

INTRO = """
# What it costs to ask a model

2,700 PBMC x 13,714 genes (`pbmc3k`), negative binomial, models of three epochs of each
library's own training, one thread: CPU seconds, median and range of the runs, which alternate; and
the peak of memory above what the process held before, MB. `python benchmarks/queries.py --write`,
with `--before SRC` against another checkout. Groups are the cell types, each against all other
cells, in the default mode.
"""

Question = Callable[[Any], Any]


def questions() -> dict[str, tuple[Question, Question]]:
    """Return what is asked, and what before it, so that nothing is compiled while it counts."""
    some = np.arange(10)
    return {
        "latent": (
            lambda m: m.get_latent_representation(),
            lambda m: m.get_latent_representation(indices=some),
        ),
        "elbo": (lambda m: m.get_elbo(return_mean=False), lambda m: m.get_elbo(indices=some)),
        "expression": (
            lambda m: m.get_normalized_expression(return_numpy=True),
            lambda m: m.get_normalized_expression(indices=some),
        ),
        "expression, 10 draws": (
            lambda m: m.get_normalized_expression(n_samples=10),
            lambda m: m.get_normalized_expression(indices=some, n_samples=2),
        ),
        "predictive draws": (
            lambda m: m.posterior_predictive_sample().nnz,
            lambda m: m.posterior_predictive_sample(indices=some),
        ),
        "marginal likelihood, 270 cells": (
            lambda m: m.get_marginal_ll(
                n_mc_samples=50, indices=np.arange(270), return_mean=False, batch_size=128
            ),
            lambda m: m.get_marginal_ll(n_mc_samples=2, indices=some),
        ),
        "differential expression, one group": (
            lambda m: _compared(m, cell_types(m)[:1]),
            lambda m: m.get_latent_representation(indices=some),
        ),
        "differential expression, nine groups": (
            lambda m: _compared(m, cell_types(m)[:9]),
            lambda m: m.get_latent_representation(indices=some),
        ),
        "refine": (
            lambda m: m.refine_posterior(indices=np.arange(100)).elbo,
            lambda m: m.refine_posterior(indices=some),
        ),
        "gap": (
            lambda m: m.get_inference_gap(indices=np.arange(100))["log_px"],
            lambda m: m.get_inference_gap(indices=some),
        ),
        "reference": (_reference, lambda m: m.refine_posterior(indices=some)),
        "canonicalize": (
            lambda m: np.abs(m.canonicalize()),
            lambda m: m.get_latent_representation(indices=some),
        ),
        "audit": (_audit, lambda m: m.get_inference_gap(indices=some)),
    }


def cell_types(model: Any) -> list[str]:
    """Names of the cell types of a model's cells."""
    return sorted(set(model.adata.obs["cell_type"]))


def _compared(model: Any, groups: list[str]) -> np.ndarray:
    table = model.differential_expression(groupby="cell_type", group1=groups, silent=True)
    return table.sort_index()["scale1"].to_numpy()


def _audit(model: Any) -> np.ndarray:
    from lucidvi import audit

    report = audit.run(model, max_cells=500)
    return np.array([len(report.findings)])


def _reference(model: Any) -> np.ndarray:
    from lucidvi.atlas import Reference

    made = Reference.from_model(model, "cell_type")
    return np.concatenate([setting.confidence for setting in made.calibration.settings])


def measure(library: str, name: str, likelihood: str, epochs: int, asked: list[str]) -> None:
    """Ask a model in this process; print the costs as JSON."""
    import scvi
    import torch
    from _data import load

    torch.set_num_threads(1)
    if library == "scvi":
        model_class = scvi.model.SCVI
    else:
        from lucidvi.model import SCVI as model_class
    adata = load(name)
    adata.X = adata.X.astype(np.float32)
    scvi.settings.seed = 0
    model_class.setup_anndata(adata)
    model = model_class(adata, gene_likelihood=likelihood)
    if epochs:
        model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
    model.is_trained = True
    model.module.eval()
    costs = {}
    for question in asked:
        ask, before = questions()[question]
        before(model)
        scvi.settings.seed = 1
        held = restart_peak()
        start = time.process_time()
        ask(model)
        costs[question] = [time.process_time() - start, peak() - held]
    print(json.dumps(costs))


def restart_peak() -> float:
    """Let the peak of memory begin at what is held now, which is returned, in MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would be used again, and not be seen
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Highest memory of this process since the last restart, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def in_process(library: str, source: Path, args: argparse.Namespace) -> Any:
    """Measure one library in a process of its own; return the costs."""
    env = os.environ | {
        "PYTHONPATH": str(source),
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
    }
    asked = [q for q in args.questions if library != "scvi" or q in OF_BOTH]
    task = [library, args.data, args.likelihood, str(args.epochs), ";".join(asked)]
    command = [sys.executable, "-W", "ignore", __file__, "--one", *task]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table(costs: dict[str, list[Any]]) -> str:
    """Write costs side by side, as Markdown."""
    first, second = costs
    lines = [
        f"| question | {first}, CPU s | {second}, CPU s | ratio | {first}, MB | {second}, MB |",
        "|---|---|---|---|---|---|",
    ]
    for question in (*OF_BOTH, *OURS):
        cells, medians, memory = [], [], []
        for name in (first, second):
            runs = [run[question] for run in costs[name] if question in run]
            if not runs:
                cells.append("")
                continue
            seconds = [s for s, _ in runs]
            medians.append(float(np.median(seconds)))
            memory.append(f"{np.median([m for _, m in runs]):,.0f}")
            cells.append(f"{medians[-1]:.2f} ({min(seconds):.2f} to {max(seconds):.2f})")
        if not medians:
            continue
        ratio = f"{medians[0] / medians[1]:.2f}" if len(medians) == 2 else ""
        memory = [""] * (2 - len(memory)) + memory
        lines.append(f"| {' | '.join([question, *cells, ratio, *memory])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="pbmc3k")
    parser.add_argument("--likelihood", default="nb")
    parser.add_argument("--before", type=Path, help="src of another checkout of LucidVI")
    parser.add_argument("--epochs", type=int, default=3, help="of training, before it is asked")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", nargs="+", default=[*OF_BOTH, *OURS])
    parser.add_argument("--write", action="store_true", help="into benchmarks/queries.md")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        library, name, likelihood, epochs, asked = args.one
        measure(library, name, likelihood, int(epochs), asked.split(";"))
        return
    sides = {"scvi-tools": ("scvi", SOURCE)}
    if args.before:
        sides = {"before": ("lucidvi", args.before.resolve())}
    sides["LucidVI"] = ("lucidvi", SOURCE)
    costs: dict[str, list[Any]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, (library, source) in sides.items():
            costs[name].append(in_process(library, source, args))
    other = f"scvi-tools {version('scvi-tools')}, Python {platform.python_version()}"
    heading = "Against the build before" if args.before else f"Against {other}"
    text = table(costs)
    print(text)
    if args.write:
        write_section(Path(__file__).with_suffix(".md"), heading, text)


def write_section(page: Path, heading: str, text: str) -> None:
    """Write one section of the page, in place of the one of that heading or after all others."""
    intro, *sections = page.read_text().split("\n## ") if page.exists() else [INTRO.strip()]
    kept = [section for section in sections if section.partition("\n")[0] != heading]
    parts = [intro.strip(), *(section.strip() for section in [*kept, f"{heading}\n\n{text}"])]
    page.write_text("\n\n## ".join(parts) + "\n")


if __name__ == "__main__":
    main()
