"""Whether planned comparisons of abundance find what is predicted on real donors.

``python benchmarks/design_abundance.py`` rewrites ``benchmarks/design_abundance.md``.
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
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

SEED, RATE, N_RATES, N_REALISED, N_PREDICTED = 0, 0.05, 200, 400, 1_000
SIZES = {"cells": [50, 100], "donors": [4, 8], "depth": [0.25, 1.0]}
EFFECTS = (-1.0, -2.0)
TESTS = ("donors", "cells")
#: Cells that a type needs, as a share of all, to be counted as one; the others are one together.
SHARE_MIN = 0.03


def halves() -> tuple[AnnData, AnnData]:
    """Cells of half of the donors of OneK1K, and of the others."""
    adata = load("onek1k_40donors")
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    names = adata.obs["cell_type"].astype(str)
    adata.obs["type"] = names.where(
        names.map(names.value_counts(normalize=True)) >= SHARE_MIN, "x"
    )
    donor = adata.obs["donor"].astype(str)
    order = np.random.default_rng(SEED).permutation(donor.unique())
    in_pilot = donor.isin(order[: len(order) // 2]).to_numpy()
    return adata[in_pilot].copy(), adata[~in_pilot].copy()


def trained(adata: AnnData, epochs: int | None) -> Any:
    """Return a model of default arguments."""
    import scvi

    from lucidvi.model import SCVI

    scvi.settings.seed = SEED
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood="nb")
    model.train(max_epochs=epochs, enable_progress_bar=False)
    return model


def called(model: Any, later: AnnData, depth: float) -> np.ndarray:
    """Label cells, thinned to a depth, by the 15 nearest cells of the pilot."""
    thinned = later.copy()
    rng = np.random.default_rng(SEED)
    thinned.X.data = np.float32(rng.binomial(thinned.X.data.astype(int), depth))
    nearest = KNeighborsClassifier(15).fit(
        model.get_latent_representation(), model.adata.obs["type"].to_numpy()
    )
    return nearest.predict(model.get_latent_representation(thinned))


def realised(
    later: AnnData,
    labels: np.ndarray,
    size: tuple[int, int],
    test: str,
    effect: float | None,
    n_repeats: int,
) -> np.ndarray:
    """Power and false share on real donors, put into groups by chance; a row for each repeat.

    Cells of a type, the true one, are removed at random in the second group.
    """
    from lucidvi import simulate

    n_cells, n_donors = size
    rng = np.random.default_rng(SEED)
    truth, donor = later.obs["type"].to_numpy(str), later.obs["donor"].to_numpy(str)
    types = np.unique(truth)
    rows_of = [np.flatnonzero(donor == name) for name in np.unique(donor)]
    rows_of = [rows for rows in rows_of if len(rows) >= n_cells]
    found = []
    for repeat in range(n_repeats):
        changed = types[repeat % len(types)]
        parts, group = [], []
        for i, one in enumerate(rng.choice(len(rows_of), 2 * n_donors, replace=False)):
            rows, second = rows_of[one], i % 2 == 1
            if second and effect is not None:
                kept = (truth[rows] != changed) | (rng.random(len(rows)) < 2.0**effect)
                rows = rows[kept]
            rows = rng.permutation(rows)[:n_cells]
            parts.append(rows)
            group.append(np.repeat("b" if second else "a", len(rows)))
        rows = np.concatenate(parts)
        obs = pd.DataFrame(
            {"group": np.concatenate(group), "donor": donor[rows], "type": labels[rows]},
            index=[f"{i}" for i in range(len(rows))],
        )
        result = simulate.differential_abundance(
            AnnData(obs=obs), "group", labels_key="type", donor_key="donor", test=test
        )
        names = result.index[(result["fdr"] <= RATE).to_numpy()]
        right = effect is not None and changed in names
        found.append((right, (len(names) - right) / max(len(names), 1)))
    return np.array(found, dtype=float)


def shown(values: np.ndarray) -> tuple[str, str]:
    """Power and false share, mean and standard error."""
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return tuple(f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True))


def main() -> None:
    """Measure, and write the page."""
    import logging

    from lucidvi import simulate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats and epochs")
    quick = parser.parse_args().quick
    n_rates, n_realised, n_predicted = (
        (10, 10, 10) if quick else (N_RATES, N_REALISED, N_PREDICTED)
    )
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pilot, later = halves()
    model = trained(pilot, 5 if quick else None)
    labels = {depth: called(model, later, depth) for depth in SIZES["depth"]}
    of = {depth: f"{np.mean(labels[depth] == later.obs['type']):.3f}" for depth in labels}
    powers, rates = [], []
    for effect in EFFECTS:
        plan = simulate.design_abundance(
            model,
            labels_key="type",
            effect=effect,
            donor_key="donor",
            n_repeats=n_predicted,
            **SIZES,
        )
        for row in plan.table.itertuples():
            size = (row.cells, row.donors)
            real = realised(later, labels[row.depth], size, "donors", effect, n_realised)
            met = "yes" if abs(real[:, 0].mean() - row.power) <= 0.10 else "no"
            power, fdr = shown(real)
            predicted = [
                f"{row.power:.3f} ± {row.power_se:.3f}",
                f"{row.fdr:.3f} ± {row.fdr_se:.3f}",
            ]
            powers.append([f"{effect:g}", f"{row.depth:g}", str(row.cells), str(row.donors)])
            powers[-1] += [predicted[0], power, met, predicted[1], fdr]
            print(powers[-1], flush=True)
    for varying, donors in (("as in the data", {"donor_key": "donor"}), ("no", {"donor_sd": 0.0})):
        for test in TESTS:
            row = simulate.design_abundance(
                model, labels_key="type", changed=[], cells=[100], donors=[8], test=test,
                n_repeats=n_rates, **donors,
            ).table.iloc[0]  # fmt: skip
            rates.append(["planned", varying, test, f"{row['fdr']:.3f} ± {row['fdr_se']:.3f}"])
            rates[-1].append("yes" if abs(row["fdr"] - RATE) <= 0.02 else "no")
    for test in TESTS:
        real = realised(later, labels[1.0], (100, 8), test, None, n_rates)
        met = "yes" if abs(real[:, 1].mean() - RATE) <= 0.02 else "no"
        rates.append(["real", "as they do", test, shown(real)[1], met])
    print(rates, flush=True)
    report(page("design_abundance.md", quick), written(powers, rates, of, plan.donor_sd))


def written(
    powers: list[list[str]], rates: list[list[str]], right: dict[float, str], spread: pd.Series
) -> list[str]:
    """Return the lines of the page."""
    sizes = ["effect (log2)", "depth", "cells a donor", "donors a group"]
    return [
        "# Planned comparisons of abundance beside real ones",
        "",
        "OneK1K, 40 donors. A model of 20 donors plans (`simulate.design_abundance`, "
        f"{N_PREDICTED:,} repeats), and cells of the other 20 are thinned to the depth and "
        "labelled by the 15 nearest cells of the pilot. Donors are put into groups at random, "
        "cells of one type, another in each repeat, are removed at random in the second, and the "
        f"rest is subsampled ({N_REALISED} repeats). Types of less than {SHARE_MIN:.0%} are one "
        f"together. Types are called at a false discovery rate of {RATE:.0%}, with donors as "
        "replicates. "
        "*Met*: power within ten points.",
        "",
        *table(
            [*sizes, "predicted power", "realised power", "met", "predicted FDR", "realised FDR"],
            powers,
        ),
        "",
        "Cells of the other donors that get their label, by depth: "
        + ", ".join(f"{depth:g}: {share}" for depth, share in right.items())
        + ". Standard deviation of donors' log abundance, as estimated: "
        + ", ".join(f"{name} {value:.2f}" for name, value in spread.items())
        + ".",
        "",
        "## Where nothing changes",
        "",
        f"Share of {N_RATES} repetitions with any finding, of 8 donors a group with 100 cells. "
        "*Met*: within two points of 0.05.",
        "",
        *table(["", "donors vary", "test", "any finding", "met"], rates),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/design_abundance.py`",
    ]


if __name__ == "__main__":
    main()
