"""Whether knock-outs in silico say what knock-outs in cells do.

``python benchmarks/perturb.py`` rewrites ``benchmarks/perturb.md``.
"""

from __future__ import annotations

import argparse
import os
import warnings
from typing import Any

import numpy as np
import pandas as pd
from _data import load
from _measure import cpu_model, page, report, table
from anndata import AnnData
from design_expression import trained
from scipy import sparse
from scipy.stats import spearmanr

SEED, RATE = 0, 0.05
CONDITION, CONTROL, BATCH = "perturbation", "non-targeting", "batch"
#: Mean count from which on a gene is judged, and findings that signs are counted of.
EXPRESSED_MIN, FINDINGS_MIN = 0.05, 5
#: Ways to predict, and whether the posteriors are refined.
WAYS = ("encoder", "refined")
BASELINE = "regression"


def shares(adata: AnnData) -> np.ndarray:
    """Divide counts by the total of each cell; dense."""
    x = adata.X.toarray().astype(float)
    return x / np.maximum(x.sum(axis=1, keepdims=True), 1)


def real_effect(adata: AnnData, target: str) -> pd.DataFrame:
    """Log2 fold changes of the knock-out and their false discovery rates, cells as replicates.

    Guides are by chance in the cells of one culture, which are therefore replicates.
    """
    from lucidvi import simulate

    return simulate.differential_expression(adata, CONDITION, [CONTROL, target], test="cells")


def regressed(adata: AnnData, target: str) -> np.ndarray:
    """Predict by each gene's regression on the target, of log2 counts per ten thousand."""
    log = np.log2(1e4 * shares(adata) + 1)
    own = log[:, adata.var_names.get_loc(target)]
    slope = (own - own.mean()) @ (log - log.mean(axis=0)) / (len(own) * own.var())
    return -slope * own.mean()


def judged(predicted: np.ndarray, real: pd.DataFrame, genes: np.ndarray) -> dict[str, Any]:
    """Rank correlation over all genes, and of the findings the signs and the rank correlation."""
    change = real["log2_fold_change"].to_numpy()
    found = genes & (real["fdr"] <= RATE).to_numpy()
    result = {"all": spearmanr(predicted[genes], change[genes])[0], "findings": int(found.sum())}
    if found.sum() >= FINDINGS_MIN:
        result["signs"] = float((np.sign(predicted[found]) == np.sign(change[found])).mean())
        result["of findings"] = spearmanr(predicted[found], change[found])[0]
    return result


def measure(epochs: int | None) -> pd.DataFrame:
    """Return the scores of each target and way."""
    from lucidvi import simulate

    adata = load("papalexi")
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    condition = adata.obs[CONDITION].astype(str)
    control = adata[condition == CONTROL].copy()
    level = np.asarray(control.X.mean(axis=0)).ravel()
    targets = [name for name in condition.unique() if name in adata.var_names]
    models = {"controls only": trained(control.copy(), epochs, BATCH)}
    rows = []
    for target in sorted(targets):
        real = real_effect(adata, target)
        genes = (level >= EXPRESSED_MIN) & (adata.var_names != target)
        genes &= real["log2_fold_change"].notna().to_numpy()
        own = adata.var_names.get_loc(target)
        facts = {"target": target, "count": level[own], "own": real["log2_fold_change"].iloc[own]}
        models["all but the knock-outs"] = trained(
            adata[condition != target].copy(), epochs, BATCH
        )
        for cells, model in models.items():
            scores = judged(regressed(model.adata, target), real, genes)
            rows.append(facts | {"way": BASELINE, "cells": cells} | scores)
            for way in WAYS:
                out = simulate.perturb(
                    model, control.copy(), {target: 0.0}, posterior=way, seed=SEED
                )
                scores = judged(out.var["lucidvi_effect"].to_numpy(), real, genes)
                rows.append(facts | {"way": way, "cells": cells} | scores)
                print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def lines(found: pd.DataFrame) -> list[str]:
    """Lines of the page."""

    def shown(value: float, form: str = ".2f") -> str:
        return "" if np.isnan(value) else f"{value:{form}}"

    scores = ["all", "signs", "of findings"]
    heads = ["rank correlation", "signs of findings", "rank correlation of findings"]
    means = found.groupby(["way", "cells"], sort=False)[scores].mean()
    rows = [
        [*names, *map(shown, row)] for names, row in zip(means.index, means.values, strict=True)
    ]
    each = [
        [r["target"], shown(r["count"]), shown(r["own"]), str(r["findings"]), r["way"], r["cells"]]
        + [shown(r[score]) for score in scores]
        for _, r in found.iterrows()
    ]
    return [
        "# Knock-outs in silico beside real ones",
        "",
        "Papalexi et al. 2021: stimulated THP-1 cells, CRISPR knock-outs, of which the genes that "
        "the data have are taken (299 genes in all). `simulate.perturb` sets the counts of the "
        "gene in cells with non-targeting guides to zero. Models of these cells only, or of all "
        "cells but those with the knock-out; the replicate is the batch. *Regression*: of each "
        "gene on the target in the same cells, log2 counts per ten thousand. The truth: log2 fold "
        "changes of cells with the knock-out over controls; *findings*: genes at a false "
        f"discovery rate of {RATE:.0%}. Genes of at least {EXPRESSED_MIN} counts in a mean "
        f"control, without the target; signs where there are {FINDINGS_MIN} findings or more "
        "(0.5 by chance).",
        "",
        "Means over the targets:",
        "",
        *table(["way", "trained with", *heads], rows),
        "",
        "Each:",
        "",
        *table(
            [
                "target",
                "mean count",
                "its own log2 change",
                "findings",
                "way",
                "trained with",
                *heads,
            ],
            each,
        ),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/perturb.py`",
    ]


def main() -> None:
    """Measure, and write the page."""
    import logging

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    report(page("perturb.md", quick), lines(measure(2 if quick else None)))


if __name__ == "__main__":
    main()
