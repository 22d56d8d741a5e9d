"""RNA and proteins, paired and as a mosaic: MOSAICVI beside totalVI, on held-out cells.

``python benchmarks/mosaic.py`` rewrites ``benchmarks/mosaic.md``. Each way and seed is kept in
``benchmarks/.cache/mosaic``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import math
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
from _mosaic import Scores, as_table, foscttm, kept, named_right, own_batch
from anndata import AnnData, concat
from scipy import sparse
from scvi.distributions import NegativeBinomialMixture

from lucidvi.model import MOSAICVI

mudata.set_options(pull_on_update=False)

N_GENES = 2_000
#: Share of the cells that are held out, and draws of the states of each.
HELD_OUT, N_DRAWS = 1 / 8, 200
#: Batches of the mosaic, and what each has.
MOSAIC = {"rna": ("rna",), "prot": ("prot",), "both": ("rna", "prot")}


def cells(seed: int, design: str) -> tuple[AnnData, AnnData]:
    """Training cells, of which ``obs["has_rna"]`` and ``obs["has_prot"]`` say what they have.

    Parameters
    ----------
    seed
        Of the split.
    design
        ``"paired"`` or ``"mosaic"``.

    Returns
    -------
    Training cells and held-out ones, which have both.
    """
    every = load("pbmc_cite", N_GENES)
    every = every[every.obs["batch"] == "PBMC10k"].copy()
    rng = np.random.default_rng(seed)
    order = rng.permutation(every.n_obs)
    n = int(HELD_OUT * every.n_obs)
    test, train = every[order[:n]].copy(), every[order[n:]].copy()
    names = np.array(list(MOSAIC)) if design == "mosaic" else np.array(["both"])
    train.obs["batch"] = names[rng.integers(len(names), size=train.n_obs)]
    test.obs["batch"] = "both"
    for part in (train, test):
        for modality in ("rna", "prot"):
            has = [modality in MOSAIC[batch] for batch in part.obs["batch"]]
            part.obs[f"has_{modality}"] = has
    return train, test


def as_mudata(adata: AnnData) -> mudata.MuData:
    """Cells as a MuData, each modality of the cells that have it."""
    counts = {"rna": sparse.csr_matrix(adata.X), "prot": sparse.csr_matrix(proteins(adata))}
    names = {"rna": adata.var_names, "prot": list(adata.uns["protein_names"])}
    parts = {}
    for modality, x in counts.items():
        has = adata.obs[f"has_{modality}"].to_numpy()
        obs = adata.obs.loc[has, ["batch"]].astype(str)
        parts[modality] = AnnData(x[has], obs=obs, var=pd.DataFrame(index=names[modality]))
    mdata = mudata.MuData(parts)
    mdata.obs["batch"] = adata.obs["batch"].astype(str).reindex(mdata.obs_names)
    return mdata


def proteins(adata: AnnData) -> np.ndarray:
    """Return counts of proteins."""
    return np.asarray(adata.obsm["protein_counts"], dtype=np.float32)


def lucid(train: AnnData, test: AnnData, quick: bool) -> Scores:
    """Train MOSAICVI, and score it."""
    mdata, held_out = as_mudata(train), as_mudata(test)
    kinds = {"rna": "rna", "prot": {"kind": "protein", "measured": "all"}}
    MOSAICVI.setup_mudata(mdata, kinds, batch_key="batch")
    model = MOSAICVI(mdata)
    start = time.process_time()
    model.train(2 if quick else None, enable_progress_bar=False)
    seconds = time.process_time() - start
    names = list(test.obs_names)
    imputed = model.impute("prot", "rna", held_out, n_samples=N_DRAWS)
    truth = pd.DataFrame(proteins(test), index=names, columns=list(test.uns["protein_names"]))
    log_p = model.get_conditional_ll("prot", "rna", held_out, n_mc_samples=N_DRAWS)
    states = {
        "rna": model.get_latent_representation(held_out, modalities=["rna"]),
        "prot": model.get_latent_representation(held_out, modalities=["prot"]),
        "both": model.get_latent_representation(held_out),
    }
    place = pd.Index(held_out.obs_names).get_indexer(names)
    states = {key: z[place] for key, z in states.items()}
    trained = pd.DataFrame(model.get_latent_representation(), index=model.adata.obs_names)
    return {
        "seconds": seconds,
        **imputation(imputed.mean.loc[names].to_numpy(), truth.to_numpy()),
        "log p(protein given RNA)": float(log_p["log_px"].mean()),
        "coverage": float(imputed.coverage(truth).mean()),
        "FOSCTTM": foscttm(states["rna"], states["prot"]),
        **latent(trained.loc[train.obs_names].to_numpy(), states, train, test),
    }


def totalvi(train: AnnData, test: AnnData, quick: bool) -> Scores:
    """Train totalVI, in which held-out cells are one more batch, without proteins; score it."""
    known, unknown = train.copy(), test.copy()
    unknown.obs["batch"] = "held out"
    unknown.obs["has_prot"] = False
    both = concat([known, unknown])
    both.X = sparse.csr_matrix(both.X)
    without = ~both.obs["has_rna"].to_numpy()
    both.X = sparse.csr_matrix(sparse.diags(1.0 - without) @ both.X, dtype=np.float32)
    y = proteins(both)
    y[~both.obs["has_prot"].to_numpy()] = 0
    both.obsm["protein"] = y
    scvi.model.TOTALVI.setup_anndata(
        both, protein_expression_obsm_key="protein", batch_key="batch"
    )
    model = scvi.model.TOTALVI(both)
    start = time.process_time()
    model.train(2 if quick else None, enable_progress_bar=False, accelerator="cpu")
    seconds = time.process_time() - start
    rows = np.arange(known.n_obs, both.n_obs)
    measured = sorted(set(known.obs.loc[known.obs["has_prot"], "batch"]))
    mean = model.get_normalized_expression(
        indices=rows, n_samples=25, return_mean=True, transform_batch=measured,
        include_protein_background=True, sample_protein_mixing=False,
    )[1].to_numpy()  # fmt: skip
    draws, log_p = totalvi_draws(model, rows, proteins(test), measured)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    z = model.get_latent_representation()
    as_known = test.copy()
    as_known.obsm["protein"] = proteins(test)
    states = {"rna": z[rows], "both": model.get_latent_representation(as_known)}
    return {
        "seconds": seconds,
        **imputation(mean, proteins(test)),
        "log p(protein given RNA)": log_p,
        "coverage": float(((proteins(test) >= low) & (proteins(test) <= high)).mean()),
        **latent(z[: known.n_obs], states, train, test),
    }


@torch.no_grad()
def totalvi_draws(
    model: Any, rows: np.ndarray, truth: np.ndarray, batches: list[str]
) -> tuple[np.ndarray, float]:
    """Draw proteins from the posterior predictive distribution, and evaluate their density."""
    module = model.module.eval()
    registry = model.adata_manager.get_state_registry("batch").categorical_mapping
    codes = [list(registry).index(batch) for batch in batches]
    tensors = next(iter(model._make_data_loader(model.adata, indices=rows, batch_size=len(rows))))
    draws, densities = [], []
    for draw in range(N_DRAWS):
        inferred = module.inference(**module._get_inference_input(tensors))
        given = module._get_generative_input(tensors, inferred)
        py = module.generative(**given, transform_batch=codes[draw % len(codes)])["py_"]
        px = NegativeBinomialMixture(
            mu1=py["rate_back"], mu2=py["rate_fore"], theta1=py["r"], mixture_logits=py["mixing"]
        )
        densities.append(px.log_prob(torch.from_numpy(truth)).sum(dim=-1))
        draws.append(px.sample().numpy())
    log_p = torch.stack(densities).logsumexp(dim=0) - math.log(N_DRAWS)
    return np.stack(draws), float(log_p.mean())


def feature_means(train: AnnData, test: AnnData, quick: bool) -> Scores:
    """Predict the mean of each protein for every cell."""
    start = time.process_time()
    mean = np.expm1(np.log1p(proteins(train)[train.obs["has_prot"].to_numpy()]).mean(axis=0))
    seconds = time.process_time() - start
    scores = imputation(np.broadcast_to(mean, proteins(test).shape), proteins(test))
    return {"seconds": seconds, "r of a cell": scores["r of a cell"]}


def imputation(mean: np.ndarray, truth: np.ndarray) -> Scores:
    """Correlate log means with log counts."""
    x, y = np.log1p(mean), np.log1p(truth)
    return {
        "r of a protein": _mean_correlation(x.T, y.T),
        "r of a cell": _mean_correlation(x, y),
    }


def _mean_correlation(x: np.ndarray, y: np.ndarray) -> float:
    pairs = zip(x, y, strict=True)
    found = [np.corrcoef(a, b)[0, 1] for a, b in pairs if a.std() > 0 and b.std() > 0]
    return float(np.mean(found)) if found else math.nan


def latent(
    trained: np.ndarray, states: dict[str, np.ndarray], train: AnnData, test: AnnData
) -> Scores:
    """Name the types of held-out cells by their neighbours, and see how batches mix."""
    labels = train.obs["cell_type_fine"].astype(str).to_numpy()
    truth = test.obs["cell_type_fine"].astype(str).to_numpy()
    scores = {f"types, {key}": named_right(trained, labels, z, truth) for key, z in states.items()}
    batch = train.obs["batch"].to_numpy()
    if len(set(batch)) > 1:
        scores["own batch / expected"] = own_batch(trained, batch)
        of_rna = batch == "rna"
        only = batch == "prot"
        scores["types, proteins by RNA"] = named_right(
            trained[of_rna], labels[of_rna], trained[only], labels[only]
        )
    return scores


WAYS: dict[str, Callable[[AnnData, AnnData, bool], Scores]] = {
    "MOSAICVI": lucid,
    "totalVI": totalvi,
    "mean of each protein": feature_means,
}


def measured(design: str, way: str, seed: int, quick: bool) -> Scores:
    """Return the scores of a way, or what an earlier run found with the same sources."""
    code = version("scvi-tools") if way == "totalVI" else digest("src/**/*.py")[:10]

    def measure() -> Scores:
        scvi.settings.seed = seed
        return WAYS[way](*cells(seed, design), quick)

    return kept(f"{design}-{way}-{seed}-{'quick' if quick else code}", "mosaic", measure)


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--designs", nargs="+", default=["paired", "mosaic"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = [
        "# RNA and proteins",
        "",
        f"PBMC of one 10x run (`pbmc_cite`), {N_GENES:,} genes and 14 proteins; an eighth of the "
        f"cells held out. Seeds {', '.join(map(str, given.seeds))}; mean and range. In *mosaic*, "
        "a third of the training cells has RNA alone, a third proteins alone, a third both. "
        "Proteins of held-out cells are imputed from RNA; correlations are of log1p; log p in "
        "nats a cell; coverage of 90 % intervals. *types*: 17 cell types by the 15 nearest "
        "training cells, from the states of what is named. FOSCTTM is of states from RNA alone "
        "and from proteins alone. totalVI has held-out cells in its training, as a batch without "
        "proteins, and no states from proteins alone. CPU seconds of the training, one thread.",
        "",
    ]
    for design in given.designs:
        found: dict[str, list[Scores]] = {}
        for way in given.ways:
            if way == "totalVI" and design == "mosaic":
                continue  # it does not take cells without RNA
            found[way] = [measured(design, way, seed, given.quick) for seed in given.seeds]
            print(design, way, found[way], flush=True)
        text += [f"## {design.capitalize()}", "", *as_table(found), ""]
    packages = ", ".join(f"{p} {version(p)}" for p in ("scvi-tools", "mudata", "lucidvi"))
    command = shlex.join(["python", *sys.argv])
    report(page("mosaic.md", given.quick), [*text, f"`{command}` on {cpu_model()}; {packages}."])


if __name__ == "__main__":
    main()
