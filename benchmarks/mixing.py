"""Mixing of batches against what else is asked of a model, by settings of model and training.

``python benchmarks/mixing.py`` rewrites ``benchmarks/mixing.md``. Results are kept in
``benchmarks/.cache/mixing``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import warnings
from dataclasses import dataclass, field
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
from _integration import DATASETS
from _measure import Result, cpu_model, mean_sd, page, report, table
from _mixing import MAX_CELLS, TOTALS, mixing, read

from lucidvi.train._presets import LONG

#: Data with several batches of which the labels are known, the smallest first.
WITH_BATCHES = ("panc8_small", "spleen_jaitin", "onek1k_40donors", "lupus_t")
#: Least differences from scVI that are asked for, of batch correction and of the total.
GOAL = {TOTALS[1]: -0.01, TOTALS[2]: 0.01}


@dataclass(frozen=True)
class Setting:
    """A model and its training.

    Parameters
    ----------
    name
        In the table.
    model
        Arguments of the model that are not its defaults.
    plan
        Arguments of the plan that are not those of the preset ``"lucid"``.
    is_scvi
        Train by the preset ``"scvi"``.
    is_repeated
        Train with all seeds, and not with the first alone.
    """

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    is_scvi: bool = False
    is_repeated: bool = False

    def training(self, n_cells: int, quick: bool) -> dict[str, Any]:
        """Arguments of ``train``, the whole plan among them."""
        if self.is_scvi:
            given: dict[str, Any] = {"preset": "scvi"}
        else:
            plan = {**LONG.plan, **self.plan}
            given = {"max_epochs": LONG.max_epochs(n_cells), "plan_kwargs": plan}
        return given | ({"max_epochs": 2} if quick else {})

    def measure(self, dataset: str, seeds: list[int], quick: bool) -> dict[int, Result]:
        """Train and score, by seed."""
        training = self.training(read(dataset).n_obs, quick)
        found = {}
        for seed in seeds if self.is_repeated else seeds[:1]:
            found[seed] = mixing(dataset, seed, training, self.model)
            scores = ", ".join(f"{name} {found[seed][name]:.3f}" for name in TOTALS)
            print(f"{dataset}, seed {seed}, {self.name}: {scores}", flush=True)
        return found


ENCODED = {"encode_covariates": True}
SCVI, LUCID = 'scVI (preset "scvi")', 'preset "lucid"'
SETTINGS = [
    Setting(SCVI, is_scvi=True, is_repeated=True),
    Setting(LUCID, is_repeated=True),
    Setting("`encode_covariates=True`", ENCODED, is_repeated=True),
    Setting(
        "`encode_covariates=True`, `max_kl_weight` 1.5",
        ENCODED,
        {"max_kl_weight": 1.5},
        is_repeated=True,
    ),
    Setting("`max_kl_weight` 1.5", plan={"max_kl_weight": 1.5}),
    Setting("`max_kl_weight` 2", plan={"max_kl_weight": 2.0}),
    Setting("`kl_warmup` 0.9", plan={"kl_warmup": 0.9}),
    Setting("`mean_norm` 0.5", plan={"mean_norm": 0.5}),
    Setting('`batch_representation="embedding"`', {"batch_representation": "embedding"}),
]

Results = dict[str, dict[int, Result]]


def differences(results: Results, name: str, score: str) -> np.ndarray:
    """Score of a setting less that of scVI, seed by seed."""
    reference, found = results[SCVI], results[name].items()
    return np.array([one[score] - reference[seed][score] for seed, one in found])


def row(dataset: str, name: str, results: Results) -> list[str]:
    """One line of the table."""
    found = list(results[name].values())
    scores = [mean_sd([one[score] for one in found], ".3f") for score in TOTALS]
    line = [dataset, name, str(len(found)), *scores, mean_sd([one["log_px"] for one in found])]
    if name == SCVI:
        return [*line, "", "", ""]
    against = {score: differences(results, name, score) for score in GOAL}
    is_met = all(values.mean() >= GOAL[score] for score, values in against.items())
    spreads = [mean_sd(values, "+.3f") for values in against.values()]
    return [*line, *spreads, "yes" if is_met else "no"]


def lines(results: dict[str, Results], command: str) -> list[str]:
    """Text of the page."""
    header = ["", "", "seeds", *TOTALS, "log p(x)", *(f"{s} - scVI" for s in GOAL), "met"]
    return [
        "# Mixing of batches",
        "",
        f"LucidVI, at most 2,000 most variable genes and {MAX_CELLS:,} cells, a tenth held out: "
        "mean ± standard deviation over seeds of the scores of `lucidvi.atlas.score_integration` "
        "and of the held-out log p(x) (importance-weighted, 100 draws, nats a cell). Each setting "
        'is the preset `"lucid"` but for what it says: arguments of the model, or of '
        '`plan_kwargs`. The preset `"scvi"` trains as scvi-tools does, 400 epochs. Differences '
        "are by seed, on the same cells. Met is a batch correction of at least scVI's "
        f"{GOAL[TOTALS[1]]:+}, and a total of at least scVI's {GOAL[TOTALS[2]]:+}, on average.",
        "",
        *table(header, [row(d, name, found) for d, found in results.items() for name in found]),
        "",
        f"`{command}` on {cpu_model()}, {os.cpu_count()} cores, one thread.",
    ]


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--datasets", nargs="+", default=list(WITH_BATCHES), choices=list(DATASETS)
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        help="all for scVI, the preset and encode_covariates, the first for the rest of the curve",
    )
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        dataset: {one.name: one.measure(dataset, given.seeds, given.quick) for one in SETTINGS}
        for dataset in given.datasets
    }
    command = shlex.join(["python", "benchmarks/mixing.py", *sys.argv[1:]])
    report(page("mixing.md", given.quick), lines(results, command))


if __name__ == "__main__":
    main()
