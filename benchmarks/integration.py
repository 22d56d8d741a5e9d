"""Integration of batches: LucidVI, scVI and PCA, scored by scib-metrics.

``python benchmarks/integration.py`` rewrites ``benchmarks/integration.md``. Embeddings are kept in
``benchmarks/.cache/integration``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd
from _integration import DATASETS, LUCID, N_GENES, PCA, SCVI, embedded
from _measure import cpu_model, mean_sd, page, report, table

from lucidvi.atlas.integration._baselines import principal_components, seeded
from lucidvi.atlas.integration._score_integration import score_all
from lucidvi.atlas.integration._scored import scored_cells

SEEDS = (0, 1, 2)
MAX_CELLS = 10_000
#: How far LucidVI's total may be below scVI's.
TOLERANCE = 0.01
GROUPS = ("bio conservation", "batch correction")


def measure(dataset: str, seed: int, training: dict[str, Any]) -> pd.DataFrame:
    """Return the scores of each way to embed the cells, and the seconds that it took.

    Parameters
    ----------
    dataset
        One of :data:`_integration.DATASETS`.
    seed
        Of the trainings and of the sample of cells that is scored.
    training
        Arguments of ``train``; what is left out is the library's default.
    """
    chosen = DATASETS[dataset]
    adata = chosen.read()
    start = time.process_time()
    arrays, seconds = {PCA: principal_components(adata.X)}, {}
    seconds[PCA] = time.process_time() - start
    for way in (SCVI, LUCID):
        arrays[way], facts = embedded(dataset, seed, way, training)
        seconds[way] = facts["seconds"]
    cells = scored_cells(adata, chosen.labels_key, chosen.batch_key, MAX_CELLS, seed)
    with seeded(seed):
        scores = score_all(arrays, cells, arrays[PCA])
    scores[("seconds", "")] = pd.Series(seconds)
    return scores


def way_row(dataset: str, way: str, found: list[pd.DataFrame]) -> list[str]:
    """One line of the table: means over seeds."""
    rows = [one.loc[way] for one in found]
    means = [
        mean_sd([row[("total", name)] for row in rows], ".3f")
        if ("total", name) in rows[0].index
        else ""
        for name in (*GROUPS, "total")
    ]
    return [dataset, way, *means, f"{np.median([row[('seconds', '')] for row in rows]):.1f}"]


def difference_row(dataset: str, found: list[pd.DataFrame]) -> list[str]:
    """How LucidVI's total differs from scVI's, seed by seed."""
    last = found[0]["total"].columns[-1]
    totals = [one[("total", last)] for one in found]
    values = [one[LUCID] - one[SCVI] for one in totals]
    met = np.mean(values) >= -TOLERANCE
    seeds = ", ".join(f"{value:+.3f}" for value in values)
    return [dataset, last, mean_sd(values, "+.3f"), seeds, "yes" if met else "no"]


def metric_rows(dataset: str, found: list[pd.DataFrame]) -> list[list[str]]:
    """Each metric of each way, means over seeds."""
    mean = sum(found) / len(found)
    metrics = [column for column in mean.columns if column[0] in GROUPS]
    return [[dataset, way, *(f"{mean.loc[way, c]:.3f}" for c in metrics)] for way in mean.index]


def lines(by_dataset: dict[str, list[pd.DataFrame]], command: str) -> list[str]:
    """Text of the page."""
    n_seeds = len(next(iter(by_dataset.values())))
    items = by_dataset.items()
    with_batches = {k: v for k, v in items if GROUPS[1] in v[0]["total"]}
    without = {k: v for k, v in items if k not in with_batches}
    text = [
        "# Integration",
        "",
        f"Up to {N_GENES:,} most variable genes, both libraries by their defaults, {n_seeds} "
        f"seed(s): mean ± standard deviation. Scores of `lucidvi.atlas.score_integration`: at "
        f"most {MAX_CELLS:,} cells with a known type, total = 0.6 bio conservation + 0.4 batch "
        "correction. CPU seconds of the training (median).",
        "",
        *table(
            ["", "", *GROUPS, "total", "CPU seconds"],
            [way_row(k, way, v) for k, v in items for way in v[0].index],
        ),
        "",
        f"LucidVI's total less scVI's; it is to be at least -{TOLERANCE}:",
        "",
        *table(
            ["", "of", "difference", "seed by seed", "met"],
            [difference_row(k, v) for k, v in items],
        ),
        "",
        "Each metric, mean over seeds:",
        "",
    ]
    for part in (with_batches, without):
        if part:
            first = next(iter(part.values()))[0]
            names = [metric for group, metric in first.columns if group in GROUPS]
            rows = [row for k, v in part.items() for row in metric_rows(k, v)]
            text += [*table(["", "", *names], rows), ""]
    packages = ", ".join(f"{p} {version(p)}" for p in ("scib-metrics", "scvi-tools", "lucidvi"))
    machine = f"{cpu_model()}, {os.cpu_count()} cores; {packages}."
    return [*text, f"`{command}` on {machine}"]


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    training = {"max_epochs": 2} if given.quick else {}
    by_dataset: dict[str, list[pd.DataFrame]] = {}
    for dataset in given.datasets:
        by_dataset[dataset] = []
        for seed in given.seeds:
            found = measure(dataset, seed, training)
            by_dataset[dataset].append(found)
            print(f"{dataset}, seed {seed}\n{found.T.to_string(float_format='%.3f')}", flush=True)
    report(
        page("integration.md", given.quick), lines(by_dataset, shlex.join(["python", *sys.argv]))
    )


if __name__ == "__main__":
    main()
