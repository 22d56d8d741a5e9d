"""Whether planned comparisons of abundance find what is predicted on real donors.

``python benchmarks/design_abundance.py`` rewrites ``benchmarks/design_abundance.md``.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from _data import load
from _measure import cpu_model, page, report, table
from anndata import AnnData
from design_expression import trained
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

SEED, RATE, N_SPLITS, N_RATES, N_REALISED, N_PREDICTED = 0, 0.05, 4, 200, 400, 1_000
SIZES = {"n_cells": [50, 100], "n_donors": [4, 8], "depth_factor": [0.25, 1.0]}
EFFECTS = (-1.0, -2.0)
TESTS = ("donors", "cells")
#: Cells that a type needs, as a share of all, to be counted as one; the others are one together.
SHARE_MIN = 0.03


def donors_split(n_splits: int) -> Iterator[tuple[AnnData, AnnData]]:
    """Cells of half of the donors of OneK1K, by chance, and of the others; both ways round."""
    adata = load("onek1k_40donors")
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    names = adata.obs["cell_type"].astype(str)
    adata.obs["type"] = names.where(
        names.map(names.value_counts(normalize=True)) >= SHARE_MIN, "x"
    )
    donor = adata.obs["donor"].astype(str)
    for split in range(n_splits):
        order = np.random.default_rng(split).permutation(donor.unique())
        in_half = donor.isin(order[: len(order) // 2]).to_numpy()
        yield adata[in_half].copy(), adata[~in_half].copy()
        yield adata[~in_half].copy(), adata[in_half].copy()


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


def powers(model: Any, later: AnnData, n_predicted: int, n_realised: int) -> pd.DataFrame:
    """Predicted and realised power and false share of a pilot at each effect and size."""
    from lucidvi import simulate

    labels = {depth: called(model, later, depth) for depth in SIZES["depth_factor"]}
    rows = []
    for effect in EFFECTS:
        plan = simulate.design_abundance(
            model,
            simulate.Design(**SIZES, effect=effect),
            labels_key="type",
            donor_key="donor",
            n_repeats=n_predicted,
        )
        for row in plan.table.itertuples():
            size, depth = (row.n_cells, row.n_donors), row.depth_factor
            real = realised(later, labels[depth], size, "donors", effect, n_realised)
            power, fdr = real.mean(axis=0)
            right = np.mean(labels[depth] == later.obs["type"].to_numpy())
            rows.append((effect, depth, *size, row.power, power, row.fdr, fdr, right))
            print(rows[-1], flush=True)
    print(plan.donor_sd, flush=True)
    names = ["effect", "depth", "cells", "donors", "predicted", "realised"]
    return pd.DataFrame(rows, columns=[*names, "predicted_fdr", "realised_fdr", "right"])


def rates(model: Any, later: AnnData, n: int) -> dict[tuple[str, str, str], float]:
    """Share of repeats with any finding where nothing changes, planned and with real donors."""
    from lucidvi import simulate

    design = simulate.Design(n_cells=[100], n_donors=[8])
    labels, found = called(model, later, 1.0), {}
    for test in TESTS:
        request = {"labels_key": "type", "changed": [], "test": test, "n_repeats": n}
        for varying, donors in (
            ("as in the data", {"donor_key": "donor"}),
            ("no", {"donor_sd": 0}),
        ):
            plan = simulate.design_abundance(model, design, **request, **donors)
            found["planned", varying, test] = plan.table["fdr"].iloc[0]
        real = realised(later, labels, (100, 8), test, None, n)
        found["real", "as they do", test] = real[:, 1].mean()
    return found


def main() -> None:
    """Measure, and write the page."""
    import logging

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats and epochs")
    quick = parser.parse_args().quick
    n_splits, n_rates, n_realised, n_predicted = (
        (1, 10, 10, 10) if quick else (N_SPLITS, N_RATES, N_REALISED, N_PREDICTED)
    )
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found, null = [], []
    for pilot, later in donors_split(n_splits):
        model = trained(pilot, 5 if quick else None)
        found.append(powers(model, later, n_predicted, n_realised))
        null.append(rates(model, later, n_rates))
    report(page("design_abundance.md", quick), written(pd.concat(found), pd.DataFrame(null)))


def written(found: pd.DataFrame, null: pd.DataFrame) -> list[str]:
    """Return the lines of the page."""
    n_pilots = len(null)
    rows = []
    for size, of_size in found.groupby(["effect", "depth", "donors", "cells"], sort=False):
        effect, depth, donors, cells = size
        mean = of_size.mean()
        apart = (of_size["predicted"] - of_size["realised"]).round(3)
        rows.append([f"{effect:g}", f"{depth:g}", str(cells), str(donors)])
        rows[-1] += [ranged(of_size["predicted"]), ranged(of_size["realised"])]
        rows[-1] += ["yes" if abs(apart.mean()) <= 0.10 else "no"]
        rows[-1] += [f"{(apart.abs() <= 0.10).sum()} of {n_pilots}"]
        rows[-1] += [f"{mean['predicted_fdr']:.3f}", f"{mean['realised_fdr']:.3f}"]
    right = found.groupby("depth")["right"].mean()
    of_null = []
    for name, values in null.items():
        error = values.std(ddof=1) / np.sqrt(n_pilots)
        met = "yes" if round(abs(values.mean() - RATE), 3) <= 0.02 else "no"
        of_null.append([*name, f"{values.mean():.3f} ± {error:.3f}", met])
    sizes = ["effect (log2)", "depth", "cells a donor", "donors a group"]
    measured = ["predicted power", "realised power", "met", "single pilots"]
    return [
        "# Planned comparisons of abundance beside real ones",
        "",
        "OneK1K, 40 donors. A model of 20 donors plans (`simulate.design_abundance`, "
        f"{N_PREDICTED:,} repeats), and cells of the other 20 are thinned to the depth and "
        "labelled by the 15 nearest cells of the pilot. Donors are put into groups at random, "
        "cells of one type, another in each repeat, are removed at random in the second, and the "
        f"rest is subsampled ({N_REALISED} repeats). Types of less than {SHARE_MIN:.0%} are one "
        f"together. Types are called at a false discovery rate of {RATE:.0%}, with donors as "
        f"replicates. The donors are split {n_pilots // 2} times, and either half plans: means of "
        f"{n_pilots} pilots, and in brackets their range. *Met*: mean power within ten points; "
        "*single pilots*: those of which it is.",
        "",
        *table([*sizes, *measured, "predicted FDR", "realised FDR"], rows),
        "",
        "Cells of the other donors that get their label, by depth: "
        + ", ".join(f"{depth:g}: {share:.3f}" for depth, share in right.items())
        + ".",
        "",
        "## Where nothing changes",
        "",
        f"Share of {N_RATES} repetitions a pilot with any finding, of 8 donors a group with 100 "
        "cells, and its standard error over the pilots. *Met*: within two points of 0.05. With "
        "cells as replicates, differences of donors are taken for findings.",
        "",
        *table(["", "donors vary", "test", "any finding", "met"], of_null),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/design_abundance.py`",
    ]


def ranged(values: pd.Series) -> str:
    """Mean and range."""
    return f"{values.mean():.3f} ({values.min():.2f} to {values.max():.2f})"


if __name__ == "__main__":
    main()
