"""Velocities, times, fates and directions from spliced and unspliced counts, with known truth.

``python benchmarks/splicing.py`` rewrites ``benchmarks/splicing.md``. Each run is kept in
``benchmarks/.cache/splicing``, so a run that was broken off goes on where it was.
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

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd
import scvi
import torch
from _measure import cpu_model, digest, page, report, table
from _mosaic import Scores, kept
from anndata import AnnData
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.neighbors import KNeighborsRegressor

from lucidvi import dynamics
from lucidvi.data import simulated_development
from lucidvi.model import FLOWVI

SHAPES = ("line", "cycle", "bifurcation", "three-way")
BRANCHING = SHAPES[2:]
N_CELLS, N_GENES = 2_000, 500
#: Molecules of a typical cell.
DEPTHS = (200, 1_000, 5_000, 20_000)
#: Share of the time by which the earliest cells are the root, and the latest of a branch terminal.
ENDS = 0.1
#: Runs whose molecules are exchangeable, and sizes of their cells and genes.
N_NULL, NULL_CELLS, NULL_GENES, NULL_DEPTH = 100, 1_000, 300, 2_000


def trained(adata: AnnData, seed: int, quick: bool) -> FLOWVI:
    """Train by default."""
    scvi.settings.seed = seed
    FLOWVI.setup_anndata(adata, batch_key="batch" if adata.obs["batch"].nunique() > 1 else None)
    model = FLOWVI(adata)
    model.train(2 if quick else None, enable_progress_bar=False)
    return model


def measured(shape: str, depth: int, n_batches: int, seed: int, quick: bool) -> Scores:
    """Simulate, train, and compare with the truth."""
    adata = simulated_development(shape, N_CELLS, N_GENES, depth, n_batches=n_batches, seed=seed)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    start = time.process_time()
    model = trained(adata, seed, quick)
    seconds = time.process_time() - start
    direction = model.get_direction()
    z, velocity = model.get_latent_representation(), model.get_velocity()
    root = adata.obs["time"].to_numpy() < ENDS * adata.obs["time"].max()
    found = dynamics.latent_time(z, velocity, root)
    scores = {
        "cosine of gene velocity": cosine(model, adata),
        "Spearman of latent time": float(spearmanr(found, adata.obs["time"])[0]),
        "score of direction": direction.score,
        "genes that agree": direction.agreeing,
        "cells identified": direction.identified,
        "seconds": seconds,
    }
    return scores | (fates(adata, z, velocity) if shape in BRANCHING else {})


def cosine(model: FLOWVI, adata: AnnData) -> float:
    """Mean cosine of the cells' velocities of fitting genes to the true ones."""
    velocity = model.get_gene_velocity().dropna(axis=1)
    truth = adata[:, velocity.columns].layers["change"]
    x = velocity.to_numpy()
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(truth, axis=1)
    return float(np.mean((x * truth).sum(axis=1) / size))


def fates(adata: AnnData, z: np.ndarray, velocity: np.ndarray) -> Scores:
    """Brier scores of fates: of cells of a branch it is known, of the root it is even.

    Beside them those of the nearest terminal cells' branches.
    """
    branch, when = adata.obs["branch"].to_numpy(), adata.obs["time"].to_numpy()
    names = sorted(set(branch) - {"0"})
    late = when > when.max() * (1 - ENDS)
    terminal = np.where(late & (branch != "0"), branch, "")
    truth = np.array([branch == name for name in names]).T.astype(float)
    truth[branch == "0"] = 1 / len(names)
    found = dynamics.fate_probabilities(z, velocity, terminal)[names].to_numpy()
    near = KNeighborsRegressor(15).fit(z[terminal != ""], truth[terminal != ""]).predict(z)
    open_ = terminal == ""
    brier = [float(((p - truth)[open_] ** 2).sum(axis=1).mean()) for p in (found, near)]
    own = open_ & (branch != "0")
    return {
        "Brier of fates": brier[0],
        "Brier of nearest terminal cells": brier[1],
        "calibration error of fates": calibration_error(found[own], truth[own]),
    }


def calibration_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance, over tenths of the confidence, of confidence and share that are right."""
    confidence = found.max(axis=1)
    right = truth[np.arange(len(found)), found.argmax(axis=1)]
    tenth = np.minimum((10 * confidence).astype(int), 9)
    groups = pd.DataFrame({"confidence": confidence, "right": right}).groupby(tenth)
    apart = (groups["confidence"].mean() - groups["right"].mean()).abs()
    return float((apart * groups.size()).sum() / len(found))


def exchanged(adata: AnnData, seed: int) -> AnnData:
    """Draw anew which molecules are unspliced, with one probability for all cells of a gene."""
    rng = np.random.default_rng(seed)
    spliced, unspliced = (adata.layers[name].toarray() for name in ("spliced", "unspliced"))
    total = spliced + unspliced
    share = unspliced.sum(axis=0) / np.maximum(total.sum(axis=0), 1)
    drawn = rng.binomial(total, share)
    other = adata.copy()
    other.layers["unspliced"] = sparse.csr_matrix(drawn)
    other.layers["spliced"] = sparse.csr_matrix(total - drawn)
    return other


def chance(n_draws: int, quick: bool) -> list[float]:
    """Scores of directions where molecules are exchangeable, with states of one training."""
    adata = simulated_development("bifurcation", NULL_CELLS, NULL_GENES, NULL_DEPTH, seed=1)
    model = trained(adata, 0, quick)
    scores = []
    for run in range(3 if quick else n_draws):
        other = exchanged(adata, 1_000 + run)
        for name in ("spliced", "unspliced"):
            adata.layers[name] = other.layers[name]
        model.fit_kinetics(seed=run)
        scores.append(model.get_direction().score)
    return scores


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--depths", nargs="+", type=int, default=list(DEPTHS))
    parser.add_argument("--draws", type=int, default=N_NULL, help="of exchangeable molecules")
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    code = digest("src/**/*.py")[:10]
    columns: dict[str, Scores] = {}
    designs = [(shape, depth, 1) for shape in given.shapes for depth in given.depths]
    designs += [(shape, 5_000, 2) for shape in given.shapes]
    for shape, depth, n_batches in designs:
        name = f"{shape}, {depth:,}" + (", two batches" if n_batches > 1 else "")
        file = f"{shape}-{depth}-{n_batches}-{'quick' if given.quick else code}"
        columns[name] = kept(
            file,
            "splicing",
            lambda s=shape, d=depth, b=n_batches: measured(s, d, b, 0, given.quick),
        )
        print(name, columns[name], flush=True)
    null = {}
    if given.draws:
        file = f"exchangeable-{given.draws}-{'quick' if given.quick else code}"
        null = kept(file, "splicing", lambda: dict(enumerate(chance(given.draws, given.quick))))
    frame = pd.DataFrame(columns).T
    rows = [
        [name, *("" if np.isnan(x) else f"{x:.3g}" for x in row)]
        for name, row in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    scores = np.array(list(null.values()))
    packages = ", ".join(f"{p} {version(p)}" for p in ("scvi-tools", "lucidvi"))
    text = [
        "# Spliced and unspliced molecules",
        "",
        f"Simulated: {N_CELLS:,} cells and {N_GENES} genes, of which {0.7:.0%} change their "
        "transcription by smooth switches; rates differ by 0.35 in logs, unspliced molecules are "
        "a fifth of all and are caught by factors of 0.5 in logs a gene; counts are "
        "overdispersed. The kinetics are solved step by step. *Molecules* are those of a typical "
        "cell; in two batches, each gene is caught by factors of 0.3 in logs. FLOWVI by default. "
        "*Cosine*: between velocities of genes that fit and the true ones, mean of the cells. "
        "Latent time from a root, the earliest tenth. Fates: Brier scores, against the "
        "branch of cells that are on one, and even chances on the root; calibration error, of "
        "cells on the way along a branch: mean distance of confidence and share that are right, "
        "in tenths of confidence. CPU seconds of the training, one thread.",
        "",
        *table(["Shape, molecules", *frame.columns], rows),
    ]
    if len(scores):
        text += [
            "",
            f"Exchangeable molecules ({NULL_CELLS:,} cells, {NULL_GENES} genes, {NULL_DEPTH:,} "
            f"molecules; {len(scores)} draws of which are unspliced): scores of "
            f"{scores.mean():.2f} in the mean, {scores.std():.2f} in standard deviation, "
            f"{scores.max():.2f} at most; a direction is found in {int((scores > 3.1).sum())}.",
        ]
    command = shlex.join(["python", *sys.argv])
    report(
        page("splicing.md", given.quick), [*text, "", f"`{command}` on {cpu_model()}; {packages}."]
    )


if __name__ == "__main__":
    main()
