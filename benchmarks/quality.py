"""What a training is worth: held-out log p(x) and agreement with cell types.

``python benchmarks/quality.py`` rewrites ``benchmarks/quality.md``. Results are kept in
``benchmarks/.cache/quality``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _measure import (
    CACHE,
    Result,
    machine,
    mean_sd,
    page,
    report,
    run_cached,
    table,
    task,
    warm_up,
)

DATASETS = ("pbmc4k_top2000", "cortex_zeisel", "pbmc_facs")
N_GENES = 2_000
SEEDS = (0, 1, 2)
SCVI, LUCID = "scVI", "LucidVI"
#: Library and arguments of ``train`` of each way to train.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    SCVI: ("scvi", {}),
    LUCID: ("lucidvi", {"preset": "lucid"}),
}

Results = dict[str, list[Result]]


def measure(dataset: str, seed: int, way: str, reference: Path | None) -> Result:
    """Train one model on a real data set, or take the one that was trained before.

    Parameters
    ----------
    dataset
        Name of the data set.
    seed
        Of the split and of the training.
    way
        One of :data:`WAYS`.
    reference
        Folder of models that scvi-tools trained with its defaults.
    """
    library, train = WAYS[way]
    saved = reference / f"{dataset}-{seed}" if reference and way == SCVI else None
    one = task(
        library,
        {"name": dataset, "n_genes": N_GENES},
        train=train,
        seed=seed,
        evaluate=True,
        labels="cell_type",
        reference=saved.resolve() if saved and saved.exists() else None,
    )
    return run_cached(one, f"{dataset}-{seed}-{way.replace(', ', '-')}", CACHE / "quality")


def try_out(dataset: str, seed: int, way: str, _: Path | None) -> Result:
    """Train for two epochs on few cells."""
    library, train = WAYS[way]
    data = {"name": dataset, "n_genes": 100}
    train = {**train, "max_epochs": 2}
    one = task(library, data, train=train, seed=seed, evaluate=True, labels="cell_type")
    return run_cached(one, f"{dataset}-{seed}", CACHE / "quick")


def of_bio(result: Result) -> float:
    """Mean of the bio-conservation scores."""
    return result["bio"]["mean"]


def way_row(way: str, results: list[Result]) -> list[str]:
    """One line of a data set's table."""
    return [
        way,
        f"{np.mean([result['n_steps'] for result in results]):,.0f}",
        mean_sd([result["elbo"] for result in results]),
        mean_sd([result["log_px"] for result in results]),
        *(
            mean_sd([result["bio"][score] for result in results], ".3f")
            for score in ("nmi", "ari", "silhouette", "clisi", "mean")
        ),
    ]


def difference_row(way: str, results: Results) -> list[str]:
    """How LucidVI differs from another way, seed by seed."""
    theirs, ours = results[way], results[LUCID]
    if any(a["cells"] != b["cells"] for a, b in zip(theirs, ours, strict=True)):
        raise SystemExit(f"{way!r} and {LUCID!r} held out different cells.")
    log_px = [b["log_px"] - a["log_px"] for a, b in zip(theirs, ours, strict=True)]
    bio = [of_bio(b) - of_bio(a) for a, b in zip(theirs, ours, strict=True)]
    return [
        f"LucidVI - {way}",
        mean_sd(log_px, "+.2f"),
        mean_sd(bio, "+.3f"),
        ", ".join(f"{x:+.2f} / {y:+.3f}" for x, y in zip(log_px, bio, strict=True)),
    ]


def section(dataset: str, results: Results) -> list[str]:
    """Tables of one data set."""
    header = ["", "updates", "ELBO", "log p(x)", "NMI", "ARI", "silhouette", "cLISI", "bio"]
    difference = ["", "log p(x), nats a cell", "bio", "seed by seed"]
    return [
        f"## {dataset}",
        "",
        *table(header, [way_row(way, one) for way, one in results.items()]),
        "",
        *table(difference, [difference_row(way, results) for way in results if way != LUCID]),
        "",
    ]


def lines(by_dataset: dict[str, Results], command: str) -> list[str]:
    """Text of the page."""
    first = next(iter(by_dataset.values()))[LUCID][0]
    n_seeds = len(next(iter(by_dataset.values()))[LUCID])
    return [
        "# What a training is worth",
        "",
        f"{N_GENES:,} most variable genes, NB, {n_seeds} seeds: mean ± standard deviation. Each "
        "seed holds out the same tenth of the cells in each way to train. The held-out ELBO "
        "(mean of 5 draws) and log p(x) (importance-weighted, 100 draws) are in nats a cell, by "
        "LucidVI's estimator for every model; higher is better. NMI and ARI of k-means clusters "
        "with the cell types, the silhouette of the cell types and cLISI are scib-metrics' "
        "scores of bio-conservation, over all cells; `bio` is their mean.",
        "",
        "Both libraries train by their defaults. Seconds are another matter, since some of these "
        "runs may be kept from an earlier day: see `time_to_quality.md`.",
        "",
        *(line for name, results in by_dataset.items() for line in section(name, results)),
        f"`{command}` on {machine(first)}",
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument(
        "--reference",
        type=Path,
        help="folder of models that scvi-tools trained by default on the same genes and "
        "split, NB, each DATASET-SEED/",
    )
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    return parser.parse_args()


def main() -> None:
    """Measure, and write the page."""
    given = arguments()
    if not given.quick:
        warm_up()
    by_dataset: dict[str, Results] = {}
    for dataset in given.datasets:
        by_dataset[dataset] = {way: [] for way in given.ways}
        for seed in given.seeds:
            for way in given.ways:
                result = (try_out if given.quick else measure)(dataset, seed, way, given.reference)
                by_dataset[dataset][way].append(result)
                print(
                    f"{dataset}, seed {seed}, {way}: log p(x) {result['log_px']:.2f}, "
                    f"bio {of_bio(result):.3f}",
                    flush=True,
                )
    command = "python benchmarks/quality.py" + (" --reference DIR" if given.reference else "")
    report(page("quality.md", given.quick), lines(by_dataset, command))


if __name__ == "__main__":
    main()
