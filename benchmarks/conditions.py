"""A stimulus predicted in a cell type that was never seen under it, beside baselines and scGen.

``python benchmarks/conditions.py`` rewrites ``benchmarks/conditions.md``. Models are kept in
``benchmarks/.cache/conditions``.
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
from _data import load
from _measure import CACHE, cpu_model, digest, page, report, table
from anndata import AnnData

from lucidvi.model import SCVI
from lucidvi.simulate import compare_conditions
from lucidvi.simulate.conditions._compare import MEAN_SHIFT, NO_CHANGE, scored
from lucidvi.simulate.conditions._responses import METHODS
from lucidvi.simulate.conditions._scores import SCORES, Truth, log_expression

FOLDER = CACHE / "conditions"
N_GENES = 2_000
ASKED = {
    "condition_key": "condition",
    "control": "ctrl",
    "target": "stim",
    "labels_key": "cell_type",
}
#: Models, by what they are told: columns of their setup.
MODELS: dict[str, dict[str, Any]] = {"plain": {}, "told": {"batch_key": "condition"}}
SCGEN = "scGen's procedure"
#: How much is better: 1 where higher is, -1 where lower is.
BETTER = {score: -1 if score == "energy distance" else 1 for score in SCORES}


def of(adata: AnnData, label: str, condition: str) -> np.ndarray:
    """Say which cells are of a type and a condition."""
    return ((adata.obs["cell_type"] == label) & (adata.obs["condition"] == condition)).to_numpy()


def without(adata: AnnData, label: str) -> tuple[AnnData, AnnData]:
    """Return the cells without a label's stimulated ones, and these."""
    held_out = of(adata, label, "stim")
    return adata[~held_out].copy(), adata[held_out].copy()


def trained(known: AnnData, label: str, kind: str, seed: int, epochs: int | None) -> Any:
    """Train a model by default, or read the one of an earlier run with the same sources."""
    code = digest("src/lucidvi/[!acps]*/*.py")[:12]
    what = [label.replace(" ", "_"), kind, known.n_vars, seed, epochs or "default", code]
    name = "-".join(map(str, what))
    SCVI.setup_anndata(known, **MODELS[kind])
    if (FOLDER / name).exists():
        return SCVI.load(str(FOLDER / name), known)
    scvi.settings.seed = seed
    model = SCVI(known, gene_likelihood="nb")
    limit = {} if epochs is None else {"max_epochs": epochs}
    model.train(accelerator="cpu", enable_progress_bar=False, **limit)
    model.save(str(FOLDER / name))
    return model


def scgen(model: Any, label: str, seed: int) -> np.ndarray:
    r"""Predict by scGen's published procedure, with our model in place of its autoencoder.

    The latent means of the control cells are moved by the difference of the mean over all
    stimulated and the mean over all control cells, in both of which each cell type has the same
    weight, and decoded. The control cells of the held-out type are among the latter, as they are
    in scGen's training data. Counts are drawn, so that there is noise as in measured cells.
    """
    obs = model.adata.obs
    kind, condition = obs["cell_type"].astype(str), obs["condition"].astype(str)
    z = pd.DataFrame(model.get_latent_representation(), index=obs.index)
    means = z.groupby([condition.to_numpy(), kind.to_numpy()]).mean()
    delta = means.loc["stim"].mean() - means.loc["ctrl"].mean()
    asked = ((kind == label) & (condition == "ctrl")).to_numpy()
    total = np.asarray(model.adata.X[asked].sum(axis=1), np.float32)
    moved = torch.as_tensor((z[asked] + delta).to_numpy(np.float32))
    torch.manual_seed(seed)
    with torch.inference_mode():
        batch = torch.zeros(len(moved), 1, dtype=torch.long)
        found = model.module.generative(moved, torch.as_tensor(total).log(), batch)
        return found["px"].sample().numpy()


def measure(adata: AnnData, label: str, seed: int, epochs: int | None) -> pd.DataFrame:
    """Hold a cell type out, and return a row for each method and a column for each score."""
    known, truth = without(adata, label)
    plain = trained(known.copy(), label, "plain", seed, epochs)
    told = trained(known.copy(), label, "told", seed, epochs)
    found = compare_conditions(plain, truth, label=label, seed=seed, **ASKED)
    decoded = [name for name, method in METHODS.items() if method.gene_weights is None]
    named = compare_conditions(told, truth, label=label, seed=seed, methods=decoded, **ASKED)
    named = named.drop(index=[NO_CHANGE, MEAN_SHIFT])
    named.index = ["decoder" if name == "decoder" else f"decoder + {name}" for name in named.index]
    asked = of(known, label, "ctrl")
    measured = Truth(log_expression(known.X[asked]).toarray(), log_expression(truth.X).toarray())
    drawn = log_expression(scgen(plain, label, seed)).toarray()
    return pd.concat([found, scored(measured, {SCGEN: drawn}), named])


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=N_GENES, help="most variable genes")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--labels", nargs="+", help="cell types to hold out; all by default")
    parser.add_argument("--quick", action="store_true", help="two epochs, to try the script")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    adata = load("kang_pbmc", given.genes)
    found = {}
    for label in given.labels or sorted(adata.obs["cell_type"].astype(str).unique()):
        tables = [measure(adata, label, seed, 2 if given.quick else None) for seed in given.seeds]
        found[label] = sum(tables) / len(tables)
        print(label, found[label].round(3).to_string(), sep="\n", flush=True)
    sizes = {label: [sum(of(adata, label, c)) for c in ("ctrl", "stim")] for label in found}
    text = lines(pd.concat(found), sizes, adata.n_vars, given.seeds)
    report(page("conditions.md", given.quick), text)


def lines(found: pd.DataFrame, sizes: dict[str, Any], n_genes: int, seeds: list[int]) -> list[str]:
    """Lines of the page.

    Parameters
    ----------
    found
        Scores, by cell type and method.
    sizes
        Control and stimulated cells of each type.
    n_genes, seeds
        Of the trainings.
    """
    text = [
        "# A stimulus in a cell type that was never seen under it",
        "",
        "PBMC with and without IFN-beta (Kang et al. 2018). "
        f"Held out in turn: {', '.join(sizes)}. Each time "
        f'two models ({n_genes:,} most variable genes, `gene_likelihood="nb"`, defaults) are '
        "trained without its stimulated cells, one that is not told the condition and one that "
        "has it as its batch (methods with *decoder*; *genes* decodes under control, so that it "
        "is not among them). Its control cells are predicted under the "
        "stimulus and compared with its stimulated cells by `lucidvi.simulate."
        f"compare_conditions`. Seeds: {', '.join(map(str, seeds))}; mean over them.",
        "",
        f"*{SCGEN}* is that of Lotfollahi et al. (2019) on our model: latent means, moved by one "
        "difference between the conditions in which cell types have equal weights, decoded; "
        "counts are drawn, so that there is noise as in measured cells. Bold is the best of a "
        "row.",
    ]
    for score in SCORES:
        one = found[score].unstack(0).T[found.index.unique(1)]
        one.loc["mean"] = one.mean()
        text += ["", f"## {score}", ""]
        text += table(
            ["held out", "cells", *one], [row(one, name, score, sizes) for name in one.T]
        )
    return [*text, "", f"{cpu_model()}. `python {shlex.join(['conditions.py', *sys.argv[1:]])}`"]


def row(one: pd.DataFrame, name: str, score: str, sizes: dict[str, Any]) -> list[str]:
    """Cells of a row of the table, the best one bold."""
    values = one.loc[name].map("{:.3f}".format)
    best = (BETTER[score] * values.astype(float)).max()
    shown = [f"**{v}**" if BETTER[score] * float(v) == best else v for v in values]
    return [name, "{:,} / {:,}".format(*sizes[name]) if name in sizes else "", *shown]


if __name__ == "__main__":
    main()
