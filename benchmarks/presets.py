"""Ways to train LucidVI: held-out log p(x) and seconds of each, over several data sets.

``python benchmarks/presets.py`` rewrites ``benchmarks/presets.md``. Results are kept in
``benchmarks/.cache/presets``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
from _measure import CACHE, Result, machine, page, report, run_cached, table, task, warm_up

DATASETS = ("pbmc4k_top2000", "cortex_zeisel", "pbmc_facs", "worm_neuron")
N_GENES = 2_000


class Schedule(NamedTuple):
    """A way to train; what is not said is the preset's ``"lucid"``."""

    name: str
    max_epochs: int | None
    batch_size: int | None
    plan_kwargs: dict[str, Any] | None

    def train(self) -> dict[str, Any]:
        """Arguments of ``train``."""
        given = {**self._asdict(), "preset": "scvi" if self.name == SCVI else "lucid"}
        return {key: value for key, value in given.items() if key != "name" and value}


def schedule(shape: str, lr: float, max_epochs: int, batch_size: int = 128) -> Schedule:
    """Name a schedule by what it consists of."""
    plan = {"lr": lr, "lr_schedule": shape, "kl_warmup": 0.3}
    return Schedule(f"{shape} {lr:g}, batch {batch_size}", max_epochs, batch_size, plan)


LUCID, SCVI = 'preset "lucid"', 'preset "scvi"'
SCHEDULES = [
    Schedule(LUCID, None, None, None),
    schedule("constant", 1e-3, 100),
    schedule("constant", 4e-3, 50),
    schedule("one_cycle", 4e-3, 30),
    schedule("one_cycle", 4e-3, 50),
    schedule("one_cycle", 4e-3, 100),
    schedule("one_cycle", 8e-3, 30),
    schedule("one_cycle", 8e-3, 50),
    schedule("one_cycle", 8e-3, 100),
    schedule("one_cycle", 12e-3, 30),
    schedule("one_cycle", 12e-3, 50),
    schedule("one_cycle", 4e-3, 50, batch_size=64),
    schedule("one_cycle", 8e-3, 50, batch_size=64),
    schedule("one_cycle", 8e-3, 50, batch_size=256),
    schedule("one_cycle", 12e-3, 50, batch_size=256),
]
#: As long as scvi-tools trains: left out unless asked for.
REFERENCE = Schedule(SCVI, None, None, None)

Results = dict[str, list[Result]]


def measure(one: Schedule, dataset: str, seed: int, quick: bool) -> Result:
    """Train in one way, or read what an earlier run found."""
    train = {**one.train(), **({"max_epochs": 2} if quick else {})}
    data = {"name": dataset, "n_genes": 100 if quick else N_GENES}
    work = task("lucidvi", data, train=train, seed=seed, evaluate=True)
    return run_cached(work, f"{dataset}-{seed}", CACHE / ("quick" if quick else "presets"))


def log_px(results: list[Result]) -> float:
    """Mean held-out log p(x)."""
    return float(np.mean([result["log_px"] for result in results]))


def gain(results: dict[str, Results], name: str) -> float:
    """Held-out log p(x) above that of ``"lucid"``, mean over the data sets."""
    return float(np.mean([log_px(one[name]) - log_px(one[LUCID]) for one in results.values()]))


def row(one: Schedule, results: dict[str, Results]) -> list[str]:
    """One line of the table."""
    columns = []
    for by_name in results.values():
        difference = log_px(by_name[one.name]) - log_px(by_name[LUCID])
        seconds = np.median([result["seconds"] for result in by_name[one.name]])
        columns.append(f"{difference:+.2f} ({seconds:.1f} s)")
    first = next(iter(results.values()))[one.name][0]
    epochs = first["n_epochs"] if one.max_epochs else "its own"
    return [one.name, str(epochs), *columns, f"{gain(results, one.name):+.2f}"]


def lines(schedules: list[Schedule], results: dict[str, Results]) -> list[str]:
    """Text of the page, the best schedule first."""
    first = next(iter(results.values()))[LUCID]
    base = ", ".join(f"{name} {log_px(one[LUCID]):.2f}" for name, one in results.items())
    ordered = sorted(schedules, key=lambda one: -gain(results, one.name))
    return [
        "# Ways to train",
        "",
        f"LucidVI, {N_GENES:,} most variable genes, NB, {len(first)} seed(s): held-out log p(x) "
        '(importance-weighted, 100 draws, nats a cell) above that of the preset `"lucid"`, and '
        f"the seconds of `train()`. The preset's own: {base}.",
        "",
        *table(
            ["schedule", "epochs", *results, "mean"],
            [row(one, results) for one in ordered],
        ),
        "",
        f"`python benchmarks/presets.py` on {machine(first[0])}",
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--reference", action="store_true", help='also the preset "scvi", slow')
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    return parser.parse_args()


def main() -> None:
    """Measure, and write the page."""
    given = arguments()
    if not given.quick:
        warm_up()
    schedules = [*SCHEDULES, REFERENCE] if given.reference else SCHEDULES
    if given.quick:
        schedules = [*schedules[:2], *schedules[-2:]]
    results: dict[str, Results] = {}
    for dataset in given.datasets:
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
    report(page("presets.md", given.quick), lines(schedules, results))


if __name__ == "__main__":
    main()
