"""Whether planned experiments find what is predicted, and no more that is false than asked for.

``python benchmarks/design_expression.py`` rewrites ``benchmarks/design_expression.md``.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
import pandas as pd
from _data import load
from _measure import cpu_model, page, report, table
from anndata import AnnData
from scipy import sparse

SEED, RATE, SHARE, EFFECT = 0, 0.05, 0.05, -1.0
#: Repetitions: of rates, of realised power and of predicted power.
N_RATES, N_REALISED, N_PREDICTED = 200, 100, 50
#: Simulated pilot, and the standard deviation of its donors' log expression.
N_CELLS, N_GENES, N_DONORS, SPREAD = 2_000, 400, 20, 0.3
TESTS = ("pseudobulk", "cells")
#: Planned sizes: simulated, and of the real data.
SIZE = {"n_cells": [50], "n_donors": [5]}
SIZES = {
    "cd4nc": {"n_cells": [20, 60], "n_donors": [4, 8], "depth_factor": [0.5, 1.0]},
    "bmem": {"n_cells": [15, 30], "n_donors": [3, 5], "depth_factor": [1.0]},
}
EFFECTS = (-1.0, -2.0)


def trained(adata: AnnData, epochs: int | None, batch_key: str | None = None) -> Any:
    """Return a model of default arguments."""
    import scvi

    from lucidvi.model import SCVI

    scvi.settings.seed = SEED
    SCVI.setup_anndata(adata, batch_key=batch_key)
    model = SCVI(adata, gene_likelihood="nb")
    model.train(max_epochs=epochs, enable_progress_bar=False)
    return model


def simulated() -> AnnData:
    """Two states of cells of donors that vary, negative binomial."""
    rng = np.random.default_rng(SEED)
    rate = rng.lognormal(0, 1, N_GENES) * np.exp(rng.normal(0, 0.5, (2, N_GENES)))
    donor = np.arange(N_CELLS) % N_DONORS
    factor = np.exp(rng.normal(0, SPREAD, (N_DONORS, N_GENES)))
    depth = rng.lognormal(0, 0.3, (N_CELLS, 1))
    mean = depth * rate[rng.integers(2, size=N_CELLS)] * factor[donor]
    counts = sparse.csr_matrix(np.float32(rng.poisson(mean * rng.gamma(2, 1 / 2, mean.shape))))
    obs = pd.DataFrame({"donor": donor.astype(str)}, index=[f"cell{i}" for i in range(N_CELLS)])
    return AnnData(counts, obs=obs)


def false_discoveries(n_repeats: int, epochs: int | None) -> list[list[str]]:
    """Realised rates of a model of simulated data, with and without donors that vary."""
    from lucidvi import simulate

    model = trained(simulated(), epochs)
    rows = []
    for varying, donors in (("yes", {"donor_key": "donor"}), ("no", {"donor_sd": 0.0})):
        for share in (0.0, SHARE):
            for test in TESTS:
                found = simulate.design_expression(
                    model,
                    simulate.Design(**SIZE, effect=EFFECT, fdr=RATE),
                    share=share,
                    test=test,
                    n_repeats=n_repeats,
                    **donors,
                )
                row = found.table.iloc[0]
                power = f"{row['power']:.2f}" if share else ""
                rows.append(
                    ["simulated", varying, test, f"{share:.0%}", *rate(row["fdr"], row["fdr_se"])]
                )
                rows[-1].append(power)
                print(rows[-1], f"donor_sd {found.donor_sd.mean():.3f}", flush=True)
    return rows


def rate(mean: float, error: float) -> list[str]:
    """Realised rate with its standard error, and whether it is within two points."""
    return [f"{mean:.3f} ± {error:.3f}", "yes" if abs(mean - RATE) <= 0.02 else "no"]


def realised(
    adata: AnnData,
    changeable: np.ndarray,
    size: tuple[int, int, float],
    test: str,
    n_repeats: int,
    effect: float = EFFECT,
    share: float = SHARE,
) -> tuple[np.ndarray, np.ndarray]:
    """Power and false share on real cells: donors in groups by chance, a planted fold change.

    Counts of random genes are thinned in the second group. Means and standard errors of both.
    """
    from lucidvi import simulate

    n_cells, n_donors, depth = size
    rng = np.random.default_rng(SEED)
    donor = adata.obs["donor"].astype(str).to_numpy()
    rows_of = [np.flatnonzero(donor == name) for name in np.unique(donor)]
    rows_of = [rows for rows in rows_of if len(rows) >= n_cells]
    group = np.repeat(["a", "b"], n_donors * n_cells)
    results = []
    for _ in range(n_repeats):
        chosen = rng.choice(len(rows_of), 2 * n_donors, replace=False)
        rows = np.concatenate([rng.choice(rows_of[i], n_cells, replace=False) for i in chosen])
        changed = rng.choice(changeable, round(share * len(changeable)), replace=False)
        counts = adata.X[rows].tocoo()
        planted = np.isin(counts.col, changed) & (group[counts.row] == "b")
        kept = depth * np.where(planted, 2.0**effect, 1.0)
        counts.data = np.float32(rng.binomial(counts.data.astype(int), kept))
        obs = pd.DataFrame({"group": group, "donor": donor[rows]}, index=adata.obs_names[rows])
        part = AnnData(counts.tocsr(), obs=obs)
        part = part[np.asarray(part.X.sum(axis=1)).ravel() > 0].copy()
        de = simulate.differential_expression(part, "group", donor_key="donor", test=test)
        found = np.flatnonzero(de["fdr"] <= RATE)
        right = np.isin(found, changed).sum()
        power = right / len(changed) if len(changed) else np.nan
        results.append((power, (len(found) - right) / max(len(found), 1)))
    return np.mean(results, axis=0), np.std(results, axis=0, ddof=1) / np.sqrt(n_repeats)


def real(cell_type: str, quick: bool) -> tuple[list[list[str]], list[list[str]]]:
    """Plan by half of the donors, and realise with the other half."""
    from lucidvi import simulate

    n_rates, n_realised, n_predicted = (10, 10, 5) if quick else (N_RATES, N_REALISED, N_PREDICTED)
    adata = load("onek1k_40donors")
    adata = adata[adata.obs["cell_type"] == cell_type].copy()
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    donors = np.random.default_rng(SEED).permutation(adata.obs["donor"].unique().astype(str))
    in_pilot = adata.obs["donor"].astype(str).isin(donors[: len(donors) // 2]).to_numpy()
    pilot, later = adata[in_pilot].copy(), adata[~in_pilot].copy()
    model = trained(pilot, 5 if quick else None)
    changeable = np.flatnonzero(np.asarray(pilot.X.mean(axis=0)).ravel() >= 0.05)
    sizes, powers, rates = SIZES[cell_type], [], []
    for effect in EFFECTS:
        plan = simulate.design_expression(
            model,
            simulate.Design(**sizes, effect=effect, fdr=RATE),
            share=SHARE,
            donor_key="donor",
            n_repeats=n_predicted,
        )
        for row in plan.table.itertuples():
            size = (row.n_cells, row.n_donors, row.depth_factor)
            mean, error = realised(later, changeable, size, "pseudobulk", n_realised, effect)
            met = "yes" if abs(mean[0] - row.power) <= 0.10 else "no"
            values = [
                f"{row.power:.2f} ± {row.power_se:.2f}",
                f"{mean[0]:.2f} ± {error[0]:.2f}",
                met,
                f"{row.fdr:.3f} ± {row.fdr_se:.3f}",
                f"{mean[1]:.3f} ± {error[1]:.3f}",
            ]
            powers.append([cell_type, f"{effect:g}", *map(str, size), *values])
            print(powers[-1], flush=True)
    size = (max(sizes["n_cells"]), max(sizes["n_donors"]), 1.0)
    for share in (0.0, SHARE):
        for test in TESTS:
            mean, error = realised(later, changeable, size, test, n_rates, share=share)
            power = f"{mean[0]:.2f}" if share else ""
            of = [f"real, {cell_type}", "yes", test, f"{share:.0%}"]
            rates.append([*of, *rate(mean[1], error[1]), power])
            print(rates[-1], flush=True)
    return powers, rates


def main() -> None:
    """Measure, and write the page."""
    import logging
    import warnings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats and epochs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    quick = arguments.quick
    rates, powers = false_discoveries(*((10, 5) if quick else (N_RATES, None))), []
    for cell_type in SIZES:
        more_powers, more_rates = real(cell_type, quick)
        powers, rates = powers + more_powers, rates + more_rates
        report(page("design_expression.md", quick), written(rates, powers))


def written(rates: list[list[str]], powers: list[list[str]]) -> list[str]:
    """Return the lines of the page."""
    return [
        "# Planned experiments beside real ones",
        "",
        f"Two groups of donors; genes are called at a false discovery rate of {RATE:.0%}; "
        f"{SHARE:.0%} of the genes with at least 0.05 counts a cell change in the second group.",
        "",
        "## Is the false discovery rate what was asked for?",
        "",
        f"{N_RATES} repetitions, to half the expression. *Simulated*: "
        f"`simulate.design_expression`, {SIZE['n_donors'][0]} donors a group of "
        f"{SIZE['n_cells'][0]} cells, with a model of {N_CELLS:,} simulated cells, {N_GENES} "
        f"genes and {N_DONORS} donors (standard deviation of the log expression {SPREAD}). "
        "*Real*: cells of OneK1K, as many as the largest sizes "
        "below; donors are put into groups at random, so that nothing differs but what is planted "
        "by binomial thinning. Where no gene changes, the rate is the share of repetitions with "
        "any finding. *Cells* takes cells for replicates. *Met*: within two points of the nominal "
        "0.05.",
        "",
        *table(
            ["data", "donors vary", "test", "genes that change", "realised FDR", "met", "power"],
            rates,
        ),
        "",
        "## Is the power what was predicted?",
        "",
        "OneK1K, 40 donors, one cell type at a time: a model of 20 donors predicts "
        f"(`simulate.design_expression`, {N_PREDICTED} repetitions), and cells of the other 20 "
        f"are subsampled and thinned to the planned size, with the fold change planted "
        f"({N_REALISED} repetitions). Pseudobulk. *Met*: within ten points.",
        "",
        *table(
            [
                "type",
                "effect (log2)",
                "cells a donor",
                "donors a group",
                "depth",
                "predicted power",
                "realised power",
                "met",
                "predicted FDR",
                "realised FDR",
            ],
            powers,
        ),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/design_expression.py`",
    ]


if __name__ == "__main__":
    main()
