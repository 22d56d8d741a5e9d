"""A real mosaic of four batches: MOSAICVI beside MIDAS, and beside RNA or antibodies alone.

``python benchmarks/mosaic_batches.py --midas PYTHON`` rewrites ``benchmarks/mosaic_batches.md``,
where ``PYTHON`` is that of an environment with ``scmidas``. Each way and seed is kept in
``benchmarks/.cache/mosaic_batches``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import permutations
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from _data import DATA
from _measure import cpu_model, digest, page, report
from _mosaic import Scores, as_table, kept, named_right, own_batch
from anndata import AnnData
from scipy import sparse

from lucidvi.model import MOSAICVI, SCVI

mudata.set_options(pull_on_update=False)

FILE = DATA / "pbmc_mosaic.h5mu"
#: States and seconds.
States = tuple[pd.DataFrame, float]


def lucid(file: Path, seed: int, quick: bool, midas: str | None) -> States:
    """Train MOSAICVI on the file as it is."""
    mdata = mudata.read_h5mu(file)
    MOSAICVI.setup_mudata(mdata, {"rna": "rna", "adt": "protein"}, batch_key="batch")
    model = MOSAICVI(mdata)
    seconds = trained(model, quick)
    return pd.DataFrame(model.get_latent_representation(), index=mdata.obs_names), seconds


def alone(modality: str) -> Callable[[Path, int, bool, str | None], States]:
    """Return what trains SCVI on the cells that have a modality."""

    def train(file: Path, seed: int, quick: bool, midas: str | None) -> States:
        part = mudata.read_h5mu(file)[modality].copy()
        cells = AnnData(sparse.csr_matrix(part.X, dtype=np.float32), part.obs, part.var)
        SCVI.setup_anndata(cells, batch_key="batch")
        model = SCVI(cells)
        seconds = trained(model, quick)
        return pd.DataFrame(model.get_latent_representation(), index=cells.obs_names), seconds

    return train


def trained(model: SCVI | MOSAICVI, quick: bool) -> float:
    """Train a model, and return the CPU seconds that it took."""
    start = time.process_time()
    model.train(2 if quick else None, enable_progress_bar=False)
    return time.process_time() - start


def by_midas(file: Path, seed: int, quick: bool, midas: str | None) -> States:
    """Train MIDAS in its own environment."""
    script = Path(__file__).with_name("_midas.py")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "states.csv"
        done = subprocess.run(
            [str(midas), str(script), str(file), str(seed), str(out)],
            capture_output=True,
            text=True,
            check=True,
        )
        return pd.read_csv(out, index_col=0), float(done.stdout.splitlines()[-1])


WAYS: dict[str, Callable[[Path, int, bool, str | None], States]] = {
    "MOSAICVI": lucid,
    "MIDAS": by_midas,
    "SCVI, RNA alone": alone("rna"),
    "SCVI, antibodies alone": alone("adt"),
}


def measured(way: str, seed: int, quick: bool, midas: str | None) -> Scores:
    """Train, and name the cells of each batch by those of each other one."""
    scvi.settings.seed = seed
    states, seconds = WAYS[way](FILE, seed, quick, midas)
    obs = mudata.read_h5mu(FILE).obs.loc[states.index]
    batch, label = (obs[key].astype(str).to_numpy() for key in ("batch", "celltype"))
    z = states.to_numpy()
    has = {key: set(part.obs_names) for key, part in mudata.read_h5mu(FILE).mod.items()}
    kinds = {
        name: "+".join(key for key in has if states.index[batch == name][0] in has[key])
        for name in sorted(set(batch))
    }
    right = {
        (one, other): named_right(
            z[batch == one], label[batch == one], z[batch == other], label[batch == other]
        )
        for one, other in permutations(kinds, 2)
    }
    scores = {
        "cells": float(len(z)),
        "types by each other batch": float(np.mean([*right.values()])),
    }
    of_kinds: dict[str, list[float]] = {}
    for (one, other), share in right.items():
        of_kinds.setdefault(f"{kinds[other]} by {kinds[one]}", []).append(share)
    scores |= {name: float(np.mean(values)) for name, values in of_kinds.items()}
    return scores | {"own batch / expected": own_batch(z, batch), "seconds": seconds}


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--midas", help="Python of an environment with scmidas; without, none")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[Scores]] = {}
    for way in WAYS:
        if way == "MIDAS" and given.midas is None:
            continue
        code = "scmidas" if way == "MIDAS" else digest("src/**/*.py")[:10]
        for seed in given.seeds:
            scores = kept(
                f"{way}-{seed}-{'quick' if given.quick else code}",
                "mosaic_batches",
                lambda w=way, s=seed: measured(w, s, given.quick, given.midas),
            )
            found.setdefault(way, []).append(scores)
            print(way, seed, scores, flush=True)
    text = [
        "# A real mosaic",
        "",
        "`pbmc_mosaic.h5mu` as it is: 1,600 PBMC of four batches of 400, of which one has RNA "
        "alone (500 genes), one antibodies alone (224), two both. Types of the cells of a batch "
        "are named by the 15 nearest cells of another one, *adt by rna* being those of cells "
        "with antibodies alone by cells with RNA alone. Mean and range of "
        f"{len(given.seeds)} seeds; CPU seconds, one thread. MIDAS is trained as its quick start "
        "trains it on this file, the others by default.",
        "",
        *as_table(found),
        "",
    ]
    packages = ", ".join(f"{p} {version(p)}" for p in ("scvi-tools", "mudata", "lucidvi"))
    told = ["PYTHON" if argument == given.midas else argument for argument in sys.argv]
    command = shlex.join(["python", *told])
    report(
        page("mosaic_batches.md", given.quick),
        [*text, f"`{command}` on {cpu_model()}; {packages}."],
    )


if __name__ == "__main__":
    main()
