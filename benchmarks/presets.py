"""Ways to train LucidVI: held-out log p(x), CPU seconds and mixing of batches of each.

``python benchmarks/presets.py`` rewrites ``benchmarks/presets.md``. All trainings are of one
process and one thread, in turn, so that the load of a machine is the same for all of them. Results
are kept in ``benchmarks/.cache/presets``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import scvi
import torch
from _data import load
from _measure import CACHE, Result, cpu_model, digest, page, report, spread, table
from _mixing import MAX_CELLS, TOTALS, mixing
from _mixing import read as read_mixed
from _worker import held_out

from lucidvi.model import SCVI as SCVI_MODEL
from lucidvi.train._presets import LONG, LUCID_MANY, SHORT

read = cache(load)

DATASETS = (
    "pbmc4k_top2000",
    "cortex_zeisel",
    "worm_neuron",
    "kang_pbmc",
)
#: Data with batches that are to be mixed.
WITH_BATCHES = ("spleen_jaitin", "onek1k_40donors", "lupus_t")
N_GENES = 2_000


class Schedule(NamedTuple):
    """A way to train; what is not said is the preset's ``"lucid"``."""

    name: str
    max_epochs: int | Callable[[int], int] | None = None
    plan_kwargs: dict[str, Any] | None = None
    preset: str = "lucid"

    def train(self, n_cells: int) -> dict[str, Any]:
        """Arguments of ``train``."""
        given: dict[str, Any] = {"preset": self.preset, "plan_kwargs": self.plan_kwargs or {}}
        epochs = self.max_epochs(n_cells) if callable(self.max_epochs) else self.max_epochs
        return given if epochs is None else {**given, "max_epochs": epochs}


LUCID, FORMER, SCVI = 'preset "lucid"', "lucid, as it was", 'preset "scvi"'
#: The preset as it was at first, which it still is for few cells and for several batches.
LONGER = {"betas": (0.9, 0.999), "start_from_factors": False, **LONG.plan}
SCHEDULES = [
    Schedule(LUCID),
    Schedule(FORMER, LONG.max_epochs, LONGER),
]
#: Trainings of the data with batches.
MIXED = [
    Schedule(LUCID, LONG.max_epochs, LONGER),
    Schedule("as for one batch", SHORT.max_epochs, SHORT.plan),
]
#: What each part of the preset is worth, on the first data set: one thing else each time.
PARTS = [
    Schedule("no start from factors", None, {"start_from_factors": False}),
    Schedule("betas (0.9, 0.999)", None, {"betas": (0.9, 0.999)}),
    Schedule("lr 2e-2", None, {"lr": 2e-2}),
    Schedule("8 epochs", 8),
]
#: As long as scvi-tools trains: left out unless asked for.
REFERENCE = Schedule(SCVI, preset="scvi")

Results = dict[str, list[Result]]


def measure(one: Schedule, dataset: str, seed: int, quick: bool) -> Result:
    """Train in one way, or read what an earlier run with the same sources found."""
    folder = CACHE / ("quick" if quick else "presets")
    task = json.dumps([one.train(read(dataset, N_GENES).n_obs), digest("src/**/*.py")])
    key = hashlib.sha1(task.encode()).hexdigest()[:12]
    file = folder / f"{dataset}-{seed}-{key}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(train(one, dataset, seed, quick)))
    return json.loads(file.read_text())


def train(one: Schedule, dataset: str, seed: int, quick: bool) -> Result:
    """Train, and say how long that took and what came out."""
    adata = read(dataset, 100 if quick else N_GENES).copy()
    SCVI_MODEL.setup_anndata(adata)
    scvi.settings.seed = seed
    model = SCVI_MODEL(adata, gene_likelihood="nb")
    arguments = one.train(adata.n_obs) | ({"max_epochs": 2} if quick else {})
    start = time.process_time()
    model.train(accelerator="cpu", enable_progress_bar=False, **arguments)
    seconds = time.process_time() - start
    return {"seconds": seconds, "n_epochs": len(model.history["elbo_train"]), **held_out(model)}


def gains(results: Results, name: str) -> np.ndarray:
    """Held-out log p(x) above that of the preset as it was, seed by seed."""
    pairs = zip(results[name], results[FORMER], strict=True)
    return np.array([one["log_px"] - former["log_px"] for one, former in pairs])


def times_faster(results: Results, name: str) -> np.ndarray:
    """CPU seconds of the preset as it was over those of another, seed by seed."""
    pairs = zip(results[name], results[FORMER], strict=True)
    return np.array([former["seconds"] / one["seconds"] for one, former in pairs])


def row(dataset: str, name: str, results: Results) -> list[str]:
    """One line of the table."""
    found = results[name]
    return [
        dataset,
        name,
        str(found[0]["n_epochs"]),
        spread([result["seconds"] for result in found], ".1f"),
        spread([result["log_px"] for result in found]),
        *([""] * 2 if name == FORMER else _against(results, name)),
    ]


def _against(results: Results, name: str) -> list[str]:
    return [spread(gains(results, name), "+.2f"), spread(times_faster(results, name), ".2f")]


def mixing_row(dataset: str, name: str, results: Results) -> list[str]:
    """One line of the table of data with batches."""
    found, (first, *_) = results[name], results
    pairs = zip(found, results[first], strict=True)
    lost = [one[TOTALS[1]] - usual[TOTALS[1]] for one, usual in pairs]
    return [
        dataset,
        name,
        str(found[0]["n_epochs"]),
        *(spread([result[total] for result in found], ".3f") for total in TOTALS),
        spread([result["log_px"] for result in found]),
        "" if name == first else spread(lost, "+.3f"),
    ]


def mixing_lines(results: dict[str, Results]) -> list[str]:
    """Text on the data with batches."""
    if not results:
        return []
    header = ["", "", "epochs", *TOTALS, "log p(x)", f"{TOTALS[1]} - preset"]
    return [
        "## Data with batches",
        "",
        "There the preset is as it was at first: a shorter training mixes batches less. Scores "
        f"of `lucidvi.atlas.score_integration`, default model, at most {MAX_CELLS:,} cells; those "
        "of scVI, on all cells, are in `benchmarks/integration.md`.",
        "",
        *table(
            header, [mixing_row(d, name, found) for d, found in results.items() for name in found]
        ),
        "",
    ]


def lines(results: dict[str, Results], mixed: dict[str, Results], command: str) -> list[str]:
    """Text of the page."""
    n_seeds = len(next(iter(results.values()))[FORMER])
    header = ["", "", "epochs", "CPU s", "log p(x)", "- as it was", "times shorter"]
    return [
        "# Ways to train",
        "",
        f"LucidVI, {N_GENES:,} most variable genes, NB, {n_seeds} seed(s), each with a tenth of "
        "the cells held out: median and range of the CPU seconds of `train()` (one thread, in "
        "turn), of the held-out log p(x) (importance-weighted, 100 draws, nats a cell), and of "
        "its difference from that of the preset as it was at first (40 epochs, lr 2e-2, `betas` "
        "(0.9, 0.999), no `start_from_factors`), and how many times shorter it is. For fewer than "
        f"{LUCID_MANY:,} cells, and for several batches, it still is as it was.",
        "",
        *table(header, [row(d, name, found) for d, found in results.items() for name in found]),
        "",
        *mixing_lines(mixed),
        f"`{command}` on {cpu_model()}, {os.cpu_count()} cores, one thread.",
    ]


def mix(dataset: str, seeds: list[int]) -> Results:
    """Train on data with batches in each way, and score them."""
    n_cells = read_mixed(dataset).n_obs
    return {
        one.name: [mixing(dataset, seed, one.train(n_cells)) for seed in seeds] for one in MIXED
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    parser.add_argument("--mixing", nargs="*", default=list(WITH_BATCHES), metavar="DATASET")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--reference", action="store_true", help='also the preset "scvi", slow')
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    return parser.parse_args()


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    given = arguments()
    torch.set_num_threads(1)
    train(Schedule("to compile", 1), given.datasets[0], 0, True)
    results: dict[str, Results] = {}
    for dataset in given.datasets:
        parts = PARTS if dataset == given.datasets[0] else []
        schedules = [*SCHEDULES, *parts, *([REFERENCE] * given.reference)]
        results[dataset] = {one.name: [] for one in schedules}
        for seed in given.seeds:
            for one in schedules:
                result = measure(one, dataset, seed, given.quick)
                results[dataset][one.name].append(result)
                print(
                    f"{dataset}, seed {seed}, {one.name}: {result['seconds']:.1f} s, "
                    f"log p(x) {result['log_px']:.2f}",
                    flush=True,
                )
    mixed = {} if given.quick else {dataset: mix(dataset, given.seeds) for dataset in given.mixing}
    command = shlex.join(["python", "benchmarks/presets.py", *sys.argv[1:]])
    report(page("presets.md", given.quick), lines(results, mixed, command))


if __name__ == "__main__":
    main()
