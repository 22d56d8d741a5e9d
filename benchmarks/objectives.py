"""Posteriors, objectives and priors against the default, at equal epochs and at equal time.

``python benchmarks/objectives.py`` rewrites ``benchmarks/objectives.md``. Results are kept in
``benchmarks/.cache/objectives``, so a run that was broken off goes on where it was. Seconds an
epoch are taken first, on a quiet machine; the trainings that follow are side by side, with one
thread each, since only what comes out of them counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
from _data import load
from _measure import CACHE, cpu_model, digest, mean_sd, page, report, spread, table
from anndata import AnnData

DATASETS = ("pbmc4k_top2000", "cortex_zeisel", "pbmc_facs")
N_GENES, N_CELLS, SEEDS, EPOCHS = 2_000, 200, (0, 1, 2), 40
ELBO = "ELBO, diagonal normal"
#: Arguments of the model and of its training plan.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    ELBO: ({}, {}),
    "full covariance": ({"posterior": "full"}, {}),
    "flow": ({"posterior": "flow"}, {}),
    "importance weighted, 5 draws": ({}, {"objective": "iwae"}),
    "semi-amortized, 1 step": ({}, {"refine_steps": 1}),
    "prior: mixture": ({"prior": "mixture"}, {}),
    "prior: VampPrior": ({"prior": "vamp"}, {}),
}
TURNS, TIMED_EPOCHS = 3, 4
Task = tuple[str, int, str, int]


@cache
def read(dataset: str) -> AnnData:
    """Read a data set once a process."""
    return load(dataset, N_GENES)


def train(dataset: str, seed: int, way: str, epochs: int) -> Any:
    """Train one model on a real data set, its most variable genes."""
    import logging
    import warnings

    import scvi

    from lucidvi.model import SCVI

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.seed = seed
    adata = read(dataset).copy()
    SCVI.setup_anndata(adata)
    options, plan = WAYS[way]
    model = SCVI(adata, gene_likelihood="nb", **options)
    # Refined posteriors are asked for once the KL term has its weight, after 30 % of the epochs.
    model.train(max_epochs=epochs, plan_kwargs=plan, enable_progress_bar=False)
    return model


def seconds(dataset: str, way: str, epochs: int) -> float:
    """Seconds of a training, its preparation left out by a training of one epoch."""
    start = time.perf_counter()
    train(dataset, 0, way, epochs)
    middle = time.perf_counter()
    train(dataset, 0, way, 1)
    return (middle - start - (time.perf_counter() - middle)) / (epochs - 1)


def measured_ratios(dataset: str) -> dict[str, list[float]]:
    """Seconds an epoch over those of the ELBO, way by way in turn."""
    train(dataset, 0, ELBO, 1)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(TURNS):
        base = seconds(dataset, ELBO, EPOCHS // TIMED_EPOCHS)
        for way in WAYS:
            one = base if way == ELBO else seconds(dataset, way, EPOCHS // TIMED_EPOCHS)
            found[way].append(one / base)
    return found


def quality(task: Task) -> dict[str, float]:
    """Held-out log p(x) by AIS, and the ELBO, in nats a cell."""
    import torch

    torch.set_num_threads(1)
    file = cached("quality", task)
    if not file.exists():
        model = train(*task)
        cells = model.validation_indices[:N_CELLS]
        torch.manual_seed(0)
        marginal = model.get_marginal_ll(
            indices=cells, method="ais", n_mc_samples=640, return_diagnostics=True
        )
        elbo = np.mean([model.get_elbo(indices=cells).item() for _ in range(5)])
        result = {"log_px": marginal["log_px"], "trusted": marginal["trusted"], "elbo": elbo}
        keep(file, {name: float(value) for name, value in result.items()})
    print(task, flush=True)
    return json.loads(file.read_text())


def cached(kind: str, task: Any) -> Any:
    """File of a result, which holds for these sources."""
    key = json.dumps([kind, task, digest("src/**/*.py"), digest("benchmarks/objectives.py")])
    return CACHE / "objectives" / f"{hashlib.sha1(key.encode()).hexdigest()[:16]}.json"


def keep(file: Any, result: Any) -> None:
    """Write a result whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(result))
    part.replace(file)


def section(dataset: str, ratio: dict[str, list[float]], results: dict[Task, Any]) -> list[str]:
    """Table of one data set."""
    rows = []
    for way in WAYS:
        own = [results[dataset, seed, way, EPOCHS] for seed in SEEDS]
        row = [way, spread(ratio[way]), mean_sd([one["elbo"] for one in own])]
        row += [mean_sd([one["log_px"] for one in own])]
        for epochs in (EPOCHS, equal_time(ratio, way)):
            base = [results[dataset, seed, ELBO, epochs] for seed in SEEDS]
            gains = [a["log_px"] - b["log_px"] for a, b in zip(own, base, strict=True)]
            row.append("" if way == ELBO else mean_sd(gains, "+.2f"))
        row.append("" if way == ELBO else f"{equal_time(ratio, way)}")
        rows.append(row)
    header = ["", "time", "ELBO", "log p(x)", "equal epochs", "equal time", "the ELBO's epochs"]
    return [f"## {dataset}", "", *table(header, rows), ""]


def equal_time(ratio: dict[str, list[float]], way: str) -> int:
    """Epochs of the ELBO that take as long as those of another way."""
    return max(2, round(EPOCHS * float(np.median(ratio[way]))))


def main() -> None:
    """Measure, and write the page."""
    global DATASETS, SEEDS, EPOCHS, TURNS, N_CELLS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one data set, 12 epochs")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only-time", action="store_true", help="seconds an epoch alone")
    arguments = parser.parse_args()
    if arguments.quick:
        DATASETS, SEEDS, EPOCHS, TURNS, N_CELLS = DATASETS[:1], SEEDS[:1], 12, 1, 20
    ratios = {}
    for dataset in DATASETS:
        file = cached("time", [dataset, EPOCHS, TURNS])
        if not file.exists():
            keep(file, measured_ratios(dataset))
        ratios[dataset] = json.loads(file.read_text())
        print(dataset, {way: spread(values) for way, values in ratios[dataset].items()})
    if arguments.only_time:
        return
    tasks: dict[Task, None] = {}
    for seed in SEEDS:
        for dataset in DATASETS:
            for way in WAYS:
                tasks[dataset, seed, way, EPOCHS] = None
                tasks[dataset, seed, ELBO, equal_time(ratios[dataset], way)] = None
    # Each process reads what OpenMP may use when it starts.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        results = dict(zip(tasks, pool.map(quality, tasks), strict=True))
    trusted = np.mean([result["trusted"] for result in results.values()])
    lines = [
        "# Posteriors, objectives and priors",
        "",
        f"{N_GENES:,} most variable genes, NB, {EPOCHS} epochs, else the default training; "
        f"{len(SEEDS)} seeds, mean ± standard deviation. Held out are {N_CELLS} cells of each "
        "seed's tenth; their ELBO (5 draws) and log p(x) (annealed importance sampling, 32 chains "
        f"of 20 temperatures, {trusted:.0%} of the cells trusted) are in nats a cell, higher is "
        "better. `time` is that of an epoch over that of the ELBO's, alternating. `equal epochs` "
        "is what log p(x) gains on the ELBO after as many epochs, `equal time` on an ELBO that "
        "trained as long, for the epochs in the last column; seed by seed, on the same cells.",
        "",
    ]
    for dataset in DATASETS:
        lines += section(dataset, ratios[dataset], results)
    lines += [f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/objectives.py`"]
    report(page("objectives.md", arguments.quick), lines)


if __name__ == "__main__":
    main()
