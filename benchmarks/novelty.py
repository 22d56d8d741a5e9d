"""A cell type left out of a reference: whether its cells are told from those of known types.

``python benchmarks/novelty.py`` rewrites ``benchmarks/novelty.md``. Models are kept in
``benchmarks/.cache/novelty``.
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
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd
import scvi
from _atlas import TOLD_APART, novelty_auroc, told_apart
from _data import load
from _measure import CACHE, cpu_model, digest, page, report, table
from anndata import AnnData
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from lucidvi.atlas import Reference
from lucidvi.atlas.labels._novelty import p_values
from lucidvi.model import SCVI
from lucidvi.results import Posteriors

FOLDER = CACHE / "novelty"
N_GENES = 2_000
#: Data sets and their columns of batches.
DATASETS = {
    "cortex_zeisel": None,
    "pbmc_facs": None,
    "lupus_t": "batch",
    "spleen_jaitin": "batch",
}
LABELS_KEY, UNLABELLED = "cell_type", ("unassigned", "nan")
#: Share of the cells of each known type that are mapped together with those left out.
HELD_OUT = 0.15
#: Rate at which calls are counted.
RATE = 0.05
#: Neighbours and folds of the classifier that knows the type left out.
N_NEIGHBOURS, N_FOLDS = 30, 5


def read(dataset: str) -> AnnData:
    """Return the cells with a type."""
    adata = load(dataset, N_GENES)
    return adata[~adata.obs[LABELS_KEY].astype(str).isin(UNLABELLED)].copy()


def model_of(
    known: AnnData, batch_key: str | None, folder: Path, training: dict[str, Any]
) -> SCVI:
    """Train by default, or load what an earlier run with the same sources trained."""
    SCVI.setup_anndata(known, batch_key=batch_key)
    if (folder / "model.pt").exists():
        return SCVI.load(str(folder), known)
    scvi.settings.seed = 0
    model = SCVI(known)
    model.train(accelerator="cpu", enable_progress_bar=False, **training)
    model.save(str(folder), overwrite=True)
    return model


def measure(dataset: str, name: str, epochs: int | None) -> dict[str, Any]:
    """Leave a type out, and map its cells together with held-out cells of the others.

    Parameters
    ----------
    dataset, name
        Data set and type.
    epochs
        Of the training; None for the default.
    """
    adata = read(dataset)
    new = (adata.obs[LABELS_KEY].astype(str) == name).to_numpy()
    held_out = np.random.default_rng(0).random(adata.n_obs) < HELD_OUT
    code = digest("src/lucidvi/[!acps]*/*.py")[:12]
    folder = FOLDER / f"{dataset}-{name.replace('/', '_')}-{code}-{epochs or 'default'}"
    training = {} if epochs is None else {"max_epochs": epochs}
    known = adata[~new & ~held_out].copy()
    reference = Reference.from_model(
        model_of(known, DATASETS[dataset], folder, training), LABELS_KEY
    )
    new, query = new[new | held_out], adata[new | held_out].copy()
    start = time.process_time()
    out = reference.map(query)
    seconds = time.process_time() - start
    p = out.obs["lucidvi_novelty"].to_numpy()
    return {
        "n_new": int(new.sum()),
        "n_known": int((~new).sum()),
        "n_calibration": reference.calibration.n_cells,
        "auroc": novelty_auroc(out[~new], out[new]),
        "distance_auroc": distance_auroc(reference, out, new),
        "state_auroc": state_auroc(reference, out, new),
        "false_positives": float((p[~new] <= RATE).mean()),
        "found": float((p[new] <= RATE).mean()),
        "ms_per_cell": 1e3 * seconds / query.n_obs,
    }


def distance_auroc(reference: Reference, out: AnnData, new: np.ndarray) -> float:
    """Area under the ROC curve by the distance in latent space alone."""
    loc, scale = out.obsm["X_lucidvi"], out.obsm["X_lucidvi_scale"]
    states = Posteriors(loc=loc, scale=scale, names=out.obs_names)
    distance = reference.data.voters.judge(states)[1]
    known = np.sort(reference.calibration.settings[0].distance)
    return float(roc_auc_score(new, -p_values(distance, known)))


def state_auroc(reference: Reference, out: AnnData, new: np.ndarray) -> float:
    """Return the same of a classifier of latent states that is told which cells are new."""
    z = np.concatenate([reference.data.posteriors.loc, out.obsm["X_lucidvi"]])
    y = np.concatenate([np.zeros(len(reference.data.posteriors.loc), bool), new])
    nearest = KNeighborsClassifier(N_NEIGHBOURS, weights="distance")
    probability = cross_val_predict(nearest, z, y, cv=N_FOLDS, method="predict_proba")[:, 1]
    return float(roc_auc_score(new, probability[len(reference.data.posteriors.loc) :]))


def measured(dataset: str, name: str, epochs: int | None) -> dict[str, Any]:
    """Measure, or read what an earlier run with the same sources measured."""
    code = digest("src/lucidvi/[!cps]*/*.py")[:12]
    file = FOLDER / f"{dataset}-{name.replace('/', '_')}-{code}-{epochs or 'default'}.json"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure(dataset, name, epochs)))
    return json.loads(file.read_text())


def lines(found: pd.DataFrame) -> list[str]:
    """Text of the page."""
    columns = ["auroc", "distance_auroc", "state_auroc", "false_positives", "found"]
    header = [
        "AUROC",
        "by distance alone",
        "a classifier of states",
        f"known cells at {RATE}",
        f"new cells at {RATE}",
    ]

    def rows(some: pd.DataFrame) -> list[list[str]]:
        return [
            [
                f"{row.dataset}, {row.type}",
                f"{row.n_new:,}",
                f"{row.n_known:,}",
                f"{row.n_calibration:,}",
                *(f"{getattr(row, c):.3f}" for c in columns),
            ]
            for row in some.itertuples()
        ]

    means = found.groupby(["across", "dataset"], sort=False)[columns].mean()
    means.index = [name if across else f"{name}, within a batch" for across, name in means.index]
    means.loc["all, across batches"] = found.loc[found["across"], columns].mean()
    means.loc["all"] = found[columns].mean()
    return [
        "# A type left out of a reference",
        "",
        f"Of each data set ({N_GENES:,} most variable genes) one type at a time is left out of "
        f"the training, and so are {HELD_OUT:.0%} of the cells of all other types. Both are "
        "mapped together onto a reference of the rest, by defaults. One seed. Types are those "
        "that can be told from every other by the cells next to them in the space of principal "
        f"components (balanced accuracy of at least {TOLD_APART}): by cells of other batches, "
        "where there are batches.",
        "",
        "AUROC: of `lucidvi_novelty`, new cells against known ones; by distance alone, without "
        "what residuals have in common; and of a classifier of latent states (30 nearest, "
        "cross-validated) that is told which cells are new, to say what states alone could tell. "
        f"The last columns: shares of the cells that are called unknown at a rate of {RATE}.",
        "",
        *table(
            ["type left out", "new", "known", "calibration", *header], rows(found[found.across])
        ),
        "",
        "Types that cells of their own batch tell apart, but not those of other batches. Of "
        "spleen_jaitin each type but two was sorted onto one plate, so that a type and its plate "
        "cannot be told from each other; and CD11c+ is a gate that other types lie in.",
        "",
        *table(
            ["type left out", "new", "known", "calibration", *header], rows(found[~found.across])
        ),
        "",
        "Means over types:",
        "",
        *table(
            ["", *header],
            [[name, *(f"{value:.3f}" for value in row)] for name, row in means.iterrows()],
        ),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `{shlex.join(['python', *sys.argv])}`",
    ]


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    epochs = 2 if given.quick else None
    rows = []
    for dataset in given.datasets:
        apart = told_apart(read(dataset), LABELS_KEY, DATASETS[dataset])
        for name, row in apart[apart["told_apart"].astype(bool)].iterrows():
            facts = {"dataset": dataset, "type": name, "across": bool(row["across_batches"])}
            rows.append({**facts, **measured(dataset, name, epochs)})
            print(rows[-1], flush=True)
    report(page("novelty.md", given.quick), lines(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
