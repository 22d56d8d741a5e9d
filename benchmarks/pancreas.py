"""Velocities of the developing pancreas on transitions that are known, beside scVelo and veloVI.

``python benchmarks/pancreas.py --scvelo PYTHON`` rewrites ``benchmarks/pancreas.md``, where
``PYTHON`` is that of an environment with ``scvelo``, which scores all of them. Velocities are kept
in ``benchmarks/.cache/pancreas``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import anndata
import numpy as np
import scvi
import torch
from _data import DATA, load
from _measure import CACHE, cpu_model, digest, page, report
from _mosaic import Scores, as_table

from lucidvi.model import FLOWVI

HERE = Path(__file__).resolve().parent
FOLDER = CACHE / "pancreas"
PREPARED = FOLDER / "prepared.h5ad"
#: Draws of veloVI's posterior that are averaged.
N_DRAWS = 25


def lucid(out: Path, seed: int, scvelo: str) -> float:
    """Write velocities of genes that fit, by default; return CPU seconds."""
    adata = load("pancreas_velocity")
    scvi.settings.seed = seed
    FLOWVI.setup_anndata(adata)
    start = time.process_time()
    model = FLOWVI(adata)
    model.train(enable_progress_bar=False)
    seconds = time.process_time() - start
    velocity = model.get_gene_velocity().dropna(axis=1)
    expression = model.get_spliced_expression(gene_list=list(velocity.columns))
    np.savez(out, velocity=velocity.to_numpy(), expression=expression.to_numpy())
    print(model.get_direction(), flush=True)
    return seconds


def velovi(out: Path, seed: int, scvelo: str) -> float:
    """Write velocities of veloVI, trained by default on what its own workflow prepares."""
    adata = anndata.read_h5ad(PREPARED)
    for name in ("Ms", "Mu"):
        x = adata.layers[name]
        adata.layers[name] = (x - x.min(0)) / np.maximum(x.max(0) - x.min(0), 1e-12)
    s, u = adata.layers["Ms"], adata.layers["Mu"]
    slope = (s * u).sum(0) / np.maximum((s * s).sum(0), 1e-12)
    fit = 1 - ((u - s * slope) ** 2).sum(0) / ((u - u.mean(0)) ** 2).sum(0)
    adata = adata[:, (fit > 0) & (slope > 0)].copy()
    scvi.settings.seed = seed
    scvi.external.VELOVI.setup_anndata(adata, spliced_layer="Ms", unspliced_layer="Mu")
    start = time.process_time()
    model = scvi.external.VELOVI(adata)
    model.train(accelerator="cpu", enable_progress_bar=False)
    seconds = time.process_time() - start
    velocity = np.asarray(model.get_velocity(n_samples=N_DRAWS, velo_statistic="mean"))
    np.savez(out, velocity=velocity, expression=np.asarray(adata.layers["Ms"]))
    return seconds


def by_scvelo(out: Path, seed: int, scvelo: str) -> float:
    """Write velocities of scVelo's dynamical mode."""
    return float(asked(scvelo, "dynamical", PREPARED, out).split()[-1])


WAYS: dict[str, Callable[[Path, int, str], float]] = {
    "FLOWVI": lucid,
    "veloVI": velovi,
    "scVelo": by_scvelo,
}


def asked(scvelo: str, command: str, *files: Path) -> str:
    """Return what scVelo says in an environment of its own."""
    call = [scvelo, str(HERE / "_scvelo.py"), command, *map(str, files)]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout


def measured(way: str, seed: int, scvelo: str) -> Scores:
    """Find velocities, or take those that are there, and score them."""
    code = digest("src/**/*.py")[:10] if way == "FLOWVI" else version("scvi-tools")
    out = FOLDER / f"{way}-{seed}-{code}.npz"
    if not out.with_suffix(".json").exists():
        seconds = WAYS[way](out, seed, scvelo)
        scores = json.loads(asked(scvelo, "score", PREPARED, out).splitlines()[-1])
        out.with_suffix(".json").write_text(json.dumps(scores | {"seconds": seconds}))
    return json.loads(out.with_suffix(".json").read_text())


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scvelo", required=True, help="Python of an environment with scvelo")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of FLOWVI")
    given = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not PREPARED.exists():
        asked(given.scvelo, "prepare", DATA / "pancreas_velocity.h5ad", PREPARED)
    found: dict[str, list[Scores]] = {}
    for way in given.ways:
        seeds = given.seeds if way == "FLOWVI" else [0]
        found[way] = [measured(way, seed, given.scvelo) for seed in seeds]
        print(way, found[way], flush=True)
    told = ["PYTHON" if argument == given.scvelo else argument for argument in sys.argv[1:]]
    text = [
        "# Velocities of the pancreas",
        "",
        "Endocrine cells of the pancreas (`pancreas_velocity`, 3,696 cells). Cross-boundary "
        "correctness: mean cosine of a cell's velocity and the ways to those of its neighbours "
        "that are of the type known to follow, a mean over seven transitions, on *umap* and "
        "*pca*, after projection by scVelo's velocity graph; *permuted*: with velocities of other "
        "cells. FLOWVI with the genes that fit; veloVI and scVelo (dynamical) as their workflows "
        "are. FLOWVI: mean and range of the seeds; the others one. CPU seconds of the training, "
        "one thread.",
        "",
        *as_table(found),
        "",
        f"`{shlex.join(['python', 'benchmarks/pancreas.py', *told])}` on {cpu_model()}; scvelo "
        f"{asked_version(given.scvelo)}, scvi-tools {version('scvi-tools')}, lucidvi "
        f"{version('lucidvi')}.",
    ]
    report(page("pancreas.md", False), text)


def asked_version(scvelo: str) -> str:
    """Return the version of scVelo in its environment."""
    code = "from importlib.metadata import version; print(version('scvelo'))"
    return subprocess.run([scvelo, "-c", code], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
