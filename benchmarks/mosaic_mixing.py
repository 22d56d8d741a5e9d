"""How batches mix that measured something else, beside the same cells with everything.

``python benchmarks/mosaic_mixing.py`` rewrites ``benchmarks/mosaic_mixing.md``.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import warnings
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd
import scvi
import torch
from _measure import cpu_model, digest, page, report
from _mosaic import Scores, as_table, kept, own_batch
from mosaic import MOSAIC, as_mudata, cells

from lucidvi.atlas.integration._scores import BATCH, BIO, METRICS, Embedded
from lucidvi.model import MOSAICVI

#: What training cells have, and what of it their states are inferred from.
CASES = {
    "all, read from all": (False, False),
    "all, read as the mosaic": (False, True),
    "the mosaic": (True, True),
}


def states(model: MOSAICVI, mdata: Any, batch: np.ndarray, split: bool, draw: bool) -> np.ndarray:
    """Return states of cells, of each batch from what it has in the mosaic, or from all."""
    z = np.zeros((mdata.n_obs, model.module.n_latent), np.float32)
    for name, modalities in MOSAIC.items():
        rows = np.flatnonzero(batch == name)
        only = list(modalities) if split else None
        z[rows] = model.get_latent_representation(
            mdata, indices=rows, modalities=only, give_mean=not draw
        )
    return z


def measured(case: str, seed: int, quick: bool) -> Scores:
    """Train a model, and score means and draws of the states."""
    missing, split = CASES[case]
    train, _ = cells(seed, "mosaic")
    whole = train.copy()
    for key in ("has_rna", "has_prot"):
        whole.obs[key] = True
    mdata, every = as_mudata(train if missing else whole), as_mudata(whole)
    scvi.settings.seed = seed
    kinds = {"rna": "rna", "prot": {"kind": "protein", "measured": "all"}}
    MOSAICVI.setup_mudata(mdata, kinds, batch_key="batch")
    model = MOSAICVI(mdata)
    model.train(2 if quick else None, enable_progress_bar=False)
    obs = whole.obs.loc[every.obs_names]
    batch = obs["batch"].astype(str).to_numpy()
    codes = [pd.factorize(obs[key].astype(str))[0] for key in ("cell_type_fine", "batch")]
    scores = {}
    for name in ("means", "draws"):
        z = states(model, every, batch, split, name == "draws")
        embedded = Embedded(z, *codes, None)
        for group, short in ((BATCH, "batch"), (BIO, "bio")):
            values = [
                m.score(embedded)
                for key, m in METRICS.items()
                if m.group == group and key != "PCR"
            ]
            scores[f"{short}, {name}"] = float(np.mean(values))
        scores[f"own batch / expected, {name}"] = own_batch(z, batch)
    return scores


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[Scores]] = {}
    for case in CASES:
        for seed in given.seeds:
            name = f"{case}-{seed}-{'quick' if given.quick else digest('src/**/*.py')[:10]}"
            scores = kept(
                name, "mosaic_mixing", lambda c=case, s=seed: measured(c, s, given.quick)
            )
            found.setdefault(case, []).append(scores)
            print(case, seed, scores, flush=True)
    text = [
        "# Mixing of a mosaic",
        "",
        "PBMC (`pbmc_cite`, 2,000 genes, 14 proteins) in three batches at random, of which in "
        "the mosaic one has RNA alone, one proteins alone, one both. Scores of "
        "`lucidvi.atlas.score_integration` without PCR, of means and of draws of the posteriors; "
        "*own batch*: share of the own batch among 30 neighbours over its share of the cells. "
        "*All, read as the mosaic* is a model trained with all modalities of all cells, whose "
        "states are inferred from what a cell has in the mosaic: what is lost to it is lost for "
        "want of information, not of training.",
        "",
        *as_table(found),
        "",
        f"`{shlex.join(['python', *sys.argv])}` on {cpu_model()}, one thread.",
    ]
    report(page("mosaic_mixing.md", given.quick), text)


if __name__ == "__main__":
    main()
