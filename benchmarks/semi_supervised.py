"""What labels in the training are worth: a batch left out, mapped onto two references.

``python benchmarks/semi_supervised.py`` rewrites ``benchmarks/semi_supervised.md``. Results are
kept in ``benchmarks/.cache/semi_supervised``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
import warnings
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from _atlas import LEFT_OUT, divided, left_out
from _integration import LUCID, train
from _measure import CACHE, cpu_model, digest, page, report, table
from anndata import AnnData

FOLDER = CACHE / "semi_supervised"
UNLABELLED = "not labelled"
SEEDS = (0,)
SCVI, SCANVI = "scvi", "scanvi"


def measure(dataset: str, value: str, seed: int, training: dict[str, Any]) -> dict[str, Any]:
    """Train on all but some cells, once without and once with their labels, and map these.

    Parameters
    ----------
    dataset
        One of :data:`LEFT_OUT`.
    value
        Of the cells that are left out.
    seed
        Of the trainings.
    training
        Arguments of ``train`` of both models; what is left out is the default.
    """
    import scvi

    from lucidvi.atlas import Reference

    chosen, known, query = divided(dataset, value)
    start = time.perf_counter()
    model = train(known, chosen.batch_key, seed, LUCID, training)
    seconds = {SCVI: time.perf_counter() - start}
    start = time.perf_counter()
    guided = scvi.model.SCANVI.from_scvi_model(
        model.to_scvi_model(), unlabeled_category=UNLABELLED, labels_key=chosen.labels_key
    )
    guided.train(accelerator="cpu", enable_progress_bar=False, **training)
    seconds[SCANVI] = time.perf_counter() - start
    result: dict[str, Any] = {"n_cells": query.n_obs, "seconds": seconds}
    for name, one in ((SCVI, model), (SCANVI, guided)):
        reference = Reference.from_model(one, chosen.labels_key)
        mapped = reference.map(query).obs["lucidvi_label"].astype(str)
        truth = query.obs[chosen.labels_key].astype(str)
        encoded = by_encoder(reference, query)
        result[name] = {
            "mapped": float((mapped == truth).mean()),
            "encoder": float((encoded == truth.to_numpy()).mean()),
        }
    return result


def by_encoder(reference: Any, query: AnnData) -> np.ndarray:
    """Label of the most of the 15 reference cells nearest to each cell's encoder mean."""
    from lucidvi.model import SCVI as Model

    model = Model.load_query_data(query.copy(), reference.model)
    model.is_trained_ = True
    nearest = reference.data.neighbours.find(model.get_latent_representation(), 15)
    codes = reference.labels.array.codes[nearest]
    most = [np.bincount(row).argmax() for row in codes]
    return np.asarray(reference.labels.cat.categories)[most]


def measured(dataset: str, value: str, seed: int, training: dict[str, Any]) -> dict[str, Any]:
    """Measure, or read what an earlier run with the same sources measured."""
    code = digest("src/lucidvi/[!cps]*/*.py")[:12]
    tried = "-quick" if training else ""
    file = FOLDER / f"{dataset}-{value}-{seed}-{code}{tried}.json"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure(dataset, value, seed, training)))
    return json.loads(file.read_text())


def row(name: str, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    accuracies = [
        f"{found[model][way]:.3f}" for way in ("mapped", "encoder") for model in (SCVI, SCANVI)
    ]
    seconds = [f"{found['seconds'][model]:.0f}" for model in (SCVI, SCANVI)]
    return [name, f"{found['n_cells']:,}", *accuracies, " + ".join(seconds)]


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(LEFT_OUT), choices=list(LEFT_OUT))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    training = {"max_epochs": 2} if given.quick else {}
    rows = []
    for dataset in given.datasets:
        for value in left_out(dataset):
            for seed in given.seeds:
                found = measured(dataset, value, seed, training)
                rows.append(row(f"{dataset}, without {value}", found))
                print(rows[-1], flush=True)
    header = ["", "cells", "mapped, SCVI", "mapped, SCANVI", "encoder, SCVI", "encoder, SCANVI"]
    lines = [
        "# What labels in the training are worth",
        "",
        "A batch (or technology) is left out, a default SCVI trained on the rest, and a SCANVI "
        "made of it and trained by scvi-tools' defaults with all labels. Share of the cells left "
        "out that get their label: by `Reference.map`, and by the 15 reference cells nearest to "
        "the encoder's mean.",
        "",
        *table([*header, "training, s"], rows),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `{shlex.join(['python', *sys.argv])}`",
    ]
    report(page("semi_supervised.md", given.quick), lines)


if __name__ == "__main__":
    main()
