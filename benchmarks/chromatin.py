"""RNA and accessibility of the same nuclei, as a mosaic: MOSAICVI beside MultiVI.

``python benchmarks/chromatin.py`` rewrites ``benchmarks/chromatin.md``. Each way and seed is kept
in ``benchmarks/.cache/chromatin``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from _data import load
from _measure import cpu_model, digest, page, report
from _mosaic import Scores, as_table, foscttm, kept, named_right
from anndata import AnnData
from scipy import sparse

from lucidvi.model import MOSAICVI, SCVI

mudata.set_options(pull_on_update=False)

#: Most epochs of MultiVI, in place of its 500, of which a training takes more than an hour.
EPOCHS = 150
#: Share of the nuclei that are held out.
HELD_OUT = 1 / 8
#: Shares of the training nuclei that have RNA alone, accessibility alone, and both.
DESIGNS = {"paired": (0, 0, 1), "mosaic": (1 / 3, 1 / 3, 1 / 3)}
PARTS = {"rna": "snare_mop_rna", "atac": "snare_mop_atac"}
Data = dict[str, AnnData]


def nuclei(seed: int, design: str) -> tuple[Data, Data]:
    """Training nuclei, each modality of those that have it, and held-out ones, which have both."""
    parts = {key: load(name) for key, name in PARTS.items()}
    names = parts["rna"].obs_names.intersection(parts["atac"].obs_names)
    rng = np.random.default_rng(seed)
    order = names.to_numpy()[rng.permutation(len(names))]
    n = int(HELD_OUT * len(order))
    test, train = order[:n], order[n:]
    has = rng.choice(3, size=len(train), p=DESIGNS[design])
    chosen = {"rna": train[has != 1], "atac": train[has != 0]}
    return (
        {key: parts[key][chosen[key]].copy() for key in parts},
        {key: parts[key][test].copy() for key in parts},
    )


def as_mudata(parts: Data) -> mudata.MuData:
    """Nuclei as a MuData, with batches and types in its ``obs``."""
    of_batch = {key: part.obs[["batch"]].astype(str) for key, part in parts.items()}
    mdata = mudata.MuData(
        {key: AnnData(sparse.csr_matrix(a.X), of_batch[key], a.var) for key, a in parts.items()}
    )
    obs = pd.concat([part.obs for part in parts.values()]).astype(str)
    obs = obs[~obs.index.duplicated()].reindex(mdata.obs_names)
    for column in ("batch", "cell_type"):
        mdata.obs[column] = obs[column]
    return mdata


def lucid(train: mudata.MuData, test: mudata.MuData, quick: bool) -> tuple[float, Any]:
    """Train MOSAICVI."""
    MOSAICVI.setup_mudata(train, {"rna": "rna", "atac": "accessibility"}, batch_key="batch")
    model = MOSAICVI(train)
    start = time.process_time()
    model.train(2 if quick else None, enable_progress_bar=False)
    seconds = time.process_time() - start

    def states(data: mudata.MuData, modality: str | None) -> np.ndarray:
        only = None if modality is None else [modality]
        return model.get_latent_representation(data, modalities=only)

    return seconds, states


def multivi(train: mudata.MuData, test: mudata.MuData, quick: bool) -> tuple[float, Any]:
    """Train MultiVI; what a nucleus lacks is zero, which it takes for missing."""
    data = padded(train)
    setup_multivi(data)
    model = scvi.model.MULTIVI(data, n_genes=data["rna"].n_vars, n_regions=data["atac"].n_vars)
    start = time.process_time()
    model.train(2 if quick else EPOCHS, accelerator="cpu", enable_progress_bar=False)
    seconds = time.process_time() - start
    names = {None: "joint", "rna": "expression", "atac": "accessibility"}

    def states(asked: mudata.MuData, modality: str | None) -> np.ndarray:
        own = padded(asked)
        own.obs["_indices"] = np.arange(own.n_obs)  # as its setup writes
        z = model.get_latent_representation(own, modality=names[modality])
        return z[own.obs_names.get_indexer(asked.obs_names)]

    return seconds, states


def setup_multivi(data: mudata.MuData) -> None:
    """Register nuclei with MultiVI."""
    scvi.model.MULTIVI.setup_mudata(
        data, batch_key="batch", modalities={"rna_layer": "rna", "atac_layer": "atac"}
    )


def padded(mdata: mudata.MuData) -> mudata.MuData:
    """All nuclei in every modality, in one order, with zeros where they lack it."""
    parts = {}
    for key, part in mdata.mod.items():
        place = mdata.obs_names.get_indexer(part.obs_names)
        shape = (mdata.n_obs, part.n_obs)
        spread = sparse.csr_matrix((np.ones(part.n_obs), (place, np.arange(part.n_obs))), shape)
        x = sparse.csr_matrix(spread @ part.X, dtype=np.float32)
        parts[key] = AnnData(x, pd.DataFrame(index=mdata.obs_names), part.var)
    data = mudata.MuData(parts)
    data.obs["batch"] = mdata.obs["batch"].reindex(data.obs_names).astype("category")
    return data


def rna_alone(train: mudata.MuData, test: mudata.MuData, quick: bool) -> tuple[float, Any]:
    """Train SCVI on the nuclei that have RNA."""

    def genes(data: mudata.MuData) -> AnnData:
        part = data["rna"]
        return AnnData(part.X, part.obs[["batch"]].astype(str), part.var)

    cells = genes(train)
    SCVI.setup_anndata(cells, batch_key="batch")
    model = SCVI(cells)
    start = time.process_time()
    model.train(2 if quick else None, enable_progress_bar=False)
    seconds = time.process_time() - start

    def states(data: mudata.MuData, modality: str | None) -> np.ndarray | None:
        own = genes(data)
        z = pd.DataFrame(model.get_latent_representation(own), index=own.obs_names)
        return None if modality == "atac" else z.reindex(data.obs_names).to_numpy()

    return seconds, states


WAYS: dict[str, Callable[..., tuple[float, Any]]] = {
    "MOSAICVI": lucid,
    "MultiVI": multivi,
    "SCVI, RNA alone": rna_alone,
}


def measured(design: str, way: str, seed: int, quick: bool) -> Scores:
    """Train, and score the states of held-out nuclei from each modality."""
    scvi.settings.seed = seed
    train, test = map(as_mudata, nuclei(seed, design))
    seconds, states = WAYS[way](train, test, quick)
    known, labels = states(train, None), train.obs["cell_type"].to_numpy()
    truth = test.obs["cell_type"].to_numpy()
    z = {name: states(test, name) for name in (None, "rna", "atac")}
    if z["atac"] is None:
        has = np.isfinite(known).all(axis=1)
        right = named_right(known[has], labels[has], z["rna"], truth)
        return {"types, rna": right, "seconds": seconds}
    return {
        "FOSCTTM": foscttm(z["rna"], z["atac"]),
        "types, accessibility by nearest RNA": named_right(z["rna"], truth, z["atac"], truth, k=1),
        **{f"types, {name or 'both'}": named_right(known, labels, z[name], truth) for name in z},
        "seconds": seconds,
    }


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = [
        "# RNA and accessibility",
        "",
        "Nuclei of the mouse's cortex (`snare_mop_rna`, `snare_mop_atac`: 1,677 genes, 25,734 "
        "peaks, 12 batches, 23 types); an eighth held out. In *mosaic*, a third of the training "
        "nuclei has RNA alone, a third accessibility alone, a third both. FOSCTTM is of states of "
        "held-out nuclei from RNA alone and from accessibility alone. *types*: by the 15 nearest "
        "training nuclei, or by the one held-out nucleus whose state from RNA is nearest, from "
        "the states of what is named. CPU seconds of the training, one thread. All are trained "
        f"by default, but for MultiVI's epochs, {EPOCHS} at most, with its early stopping.",
        "",
    ]
    for design in given.designs:
        found: dict[str, list[Scores]] = {}
        for way in given.ways:
            code = version("scvi-tools") if way == "MultiVI" else digest("src/**/*.py")[:10]
            for seed in given.seeds:
                name = f"{design}-{way}-{seed}-{'quick' if given.quick else code}"
                scores = kept(
                    name,
                    "chromatin",
                    lambda d=design, w=way, s=seed: measured(d, w, s, given.quick),
                )
                found.setdefault(way, []).append(scores)
                print(design, way, seed, scores, flush=True)
        text += [f"## {design.capitalize()}", "", *as_table(found), ""]
    packages = ", ".join(f"{p} {version(p)}" for p in ("scvi-tools", "mudata", "lucidvi"))
    command = shlex.join(["python", *sys.argv])
    report(
        page("chromatin.md", given.quick), [*text, f"`{command}` on {cpu_model()}; {packages}."]
    )


if __name__ == "__main__":
    main()
