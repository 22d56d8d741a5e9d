"""A time left out of real time courses, predicted as states and as counts.

``python benchmarks/time_courses.py`` rewrites ``benchmarks/time_courses.md``. Each fit is kept in
``benchmarks/.cache/time_courses``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import ot
import pandas as pd
import scanpy as sc
import scvi
import torch
from _data import load
from _measure import cpu_model, digest, mean_sd, page, report, table
from _mosaic import Scores, kept
from anndata import AnnData
from dynamics import wasserstein

from lucidvi import dynamics
from lucidvi.dynamics._energy import energy_distance
from lucidvi.model import SCVI, Cells
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate.trajectories._moving import Decoding, decoded

#: Genes that are modelled: the most variable ones of the cells that are not left out.
N_GENES = 500
#: Intervals of the mean state, and how many standard deviations these are to either side.
COVERAGE, WIDTH = 0.9, 1.645


@dataclass(frozen=True)
class Course:
    """A time course.

    Parameters
    ----------
    read
        Returns the counts, with times in ``obs["time"]`` and batches in ``obs["batch"]``.
    left_out
        Times that are left out in turn.
    """

    read: Callable[[], AnnData]
    left_out: tuple[float, ...]


def stem_cells() -> AnnData:
    """Return differentiating stem cells, of days."""
    adata = load("klein_es")
    adata.obs["time"] = adata.obs["label"].astype(str).astype(float)
    adata.obs["batch"] = "one"
    return adata


def worm() -> AnnData:
    """Return neurons of the worm's embryo, of minutes: the median of each hour or so."""
    adata = load("worm_embryo")
    of_bin = adata.obs.groupby("embryo_time_bin", observed=True)["embryo_time"].median()
    adata.obs["time"] = adata.obs["embryo_time_bin"].map(of_bin).astype(float)
    return adata


COURSES = {
    "stem cells": Course(stem_cells, (2, 4)),
    "worm": Course(worm, (300, 375, 410, 450, 550, 620)),
}

# -- ways to predict: states, weights, and the cell that each is from -----------------------------


@dataclass(frozen=True)
class Known:
    """Cells of the times that are not left out.

    Parameters
    ----------
    z
        Means of their posteriors, shape ``(n_cells, n_latent)``.
    time
        Their times, shape ``(n_cells,)``.
    """

    z: np.ndarray
    time: np.ndarray

    def at(self, t: float) -> np.ndarray:
        """Return which cells are of a time."""
        return np.flatnonzero(self.time == t)

    def around(self, t: float) -> tuple[float, float]:
        """Return the times before and after another."""
        return self.time[self.time < t].max(), self.time[self.time > t].min()


Predicted = tuple[np.ndarray, np.ndarray, np.ndarray]


def nearest(known: Known, t: float, seed: int) -> Predicted:
    """Take the cells of the time that is nearest, the earlier of two."""
    times = np.unique(known.time)
    rows = known.at(min(times, key=lambda other: (abs(other - t), other)))
    return known.z[rows], np.ones(len(rows)), rows


def shifted(known: Known, t: float, seed: int) -> Predicted:
    """Shift the cells before by a share of the difference of the means."""
    before, after = known.around(t)
    rows, later = known.at(before), known.at(after)
    share = (t - before) / (after - before)
    way = known.z[later].mean(axis=0) - known.z[rows].mean(axis=0)
    return known.z[rows] + share * way, np.ones(len(rows)), rows


def interpolated(known: Known, t: float, seed: int) -> Predicted:
    """Interpolate between the neighbouring times along the plan of least squared distance."""
    before, after = known.around(t)
    rows, later = known.at(before), known.at(after)
    x, y = known.z[rows].astype(float), known.z[later].astype(float)
    plan = ot.emd(ot.unif(len(x)), ot.unif(len(y)), ot.dist(x, y), numItermax=10**7)
    i, j = np.nonzero(plan)
    share = (t - before) / (after - before)
    near = rows[i] if share < 0.5 else later[j]
    return (1 - share) * x[i] + share * y[j], plan[i, j], near


def both_ways(
    field: dynamics.VectorField, known: Known, t: float, member: int | None = None
) -> Predicted:
    """Follow the samples before and after, as :func:`lucidvi.simulate.interpolate_time` does."""
    before, after = known.around(t)
    share = (t - before) / (after - before)
    parts = []
    for begin, part in ((before, 1 - share), (after, share)):
        rows = known.at(begin)
        moved = field.integrate(known.z[rows], begin, t, member)
        mass = np.exp(moved.log_mass.astype(float))
        parts.append((moved.z, part * mass / mass.sum(), rows))
    z, weight, rows = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
    return z, weight, rows


def fitted(known: Known, seed: int, **arguments: Any) -> dynamics.VectorField:
    """Fit a field to the cells that are known."""
    return dynamics.fit_flow(known.z, known.time, seed=seed, **arguments)


STRAIGHT = {"growth": False, "bending": 0.0}
WAYS = (
    "nearest time",
    "shift of the mean",
    "exact interpolation",
    "straight, no growth",
    "LucidVI",
)
WITHOUT_FIT = {"nearest time": nearest, "shift of the mean": shifted}
WITHOUT_FIT["exact interpolation"] = interpolated

# -- scores -------------------------------------------------------------------------------------


def trained(name: str, t: float, seed: int) -> tuple[SCVI, AnnData, AnnData]:
    """Train on all but one time; return the model, its cells and those that were left out."""
    adata = COURSES[name].read()
    adata.X = adata.X.astype(np.float32)
    here = adata.obs["time"].to_numpy() == t
    log = adata[~here].copy()
    sc.pp.normalize_total(log)
    sc.pp.log1p(log)
    sc.pp.highly_variable_genes(log, n_top_genes=N_GENES)
    genes = log.var["highly_variable"].to_numpy() & (np.ravel(log.X.sum(axis=0)) > 0)
    adata = adata[:, genes]
    counted = np.ravel(adata.X.sum(axis=1)) > 0
    known, truth = adata[~here & counted].copy(), adata[here & counted].copy()
    in_both = truth.obs["batch"].isin(known.obs["batch"].unique()).to_numpy()
    truth = truth[in_both].copy()
    for part in (known, truth):
        part.obs["batch"] = part.obs["batch"].astype(str)
    scvi.settings.seed = seed
    SCVI.setup_anndata(known, batch_key="batch")
    model = SCVI(known)
    model.train(enable_progress_bar=False)
    return model, known, truth


def in_genes(model: SCVI, predicted: Predicted, truth: AnnData, seed: int) -> float:
    """Energy distance of log counts that predicted states have, as deep as the true ones."""
    z, weight, rows = predicted
    rng = np.random.default_rng(seed)
    n = truth.n_obs
    chosen = rng.choice(len(z), n, p=weight / weight.sum())
    batch = truth.obs["batch"].to_numpy()
    depth = np.ravel(truth.X.sum(axis=1))
    decoding = Decoding.of(model, batch, None, depth, n)
    cells = Cells.of(model).select(rows[chosen])
    with drawing(model, seed):
        drawn = decoded(cells, z[chosen], decoding, [str(i) for i in range(n)])
    x, y = (np.log1p(1e3 * of(a) / of(a).sum(axis=1, keepdims=True)) for a in (drawn, truth))
    return energy_distance(x, np.ones(n), y)


def of(adata: AnnData) -> np.ndarray:
    """Return counts, dense, with one more in a cell that has none."""
    x = adata.X.toarray().astype(float)
    x[x.sum(axis=1) == 0] = 1
    return x


def measured(name: str, t: float, seed: int) -> dict[str, Scores]:
    """Leave a time out, and score every way to predict it."""
    model, cells, truth = trained(name, t, seed)
    z = model.get_latent_representation(truth).astype(float)
    known = Known(model.get_latent_representation().astype(float), cells.obs["time"].to_numpy())
    fields = {
        "straight, no growth": fitted(known, seed, **STRAIGHT),
        "LucidVI": fitted(known, seed),
    }
    found = {}
    for way in WAYS:
        if way in fields:
            predicted = both_ways(fields[way], known, t)
        else:
            predicted = WITHOUT_FIT[way](known, t, seed)
        states, weight, _ = predicted
        found[way] = {
            "energy, states": energy_distance(states, weight, z),
            "W1, states": wasserstein(states, weight, z),
            "energy, genes": in_genes(model, predicted, truth, seed),
        }
    found["LucidVI"]["covered"] = covered(fields["LucidVI"], known, t, z)
    half = np.random.default_rng(seed).permutation(len(z))
    first, second = z[half[: len(z) // 2]], z[half[len(z) // 2 :]]
    found["*halves of the time itself*"] = {
        "energy, states": energy_distance(first, np.ones(len(first)), second),
        "W1, states": wasserstein(first, np.ones(len(first)), second),
    }
    return found


def covered(field: dynamics.VectorField, known: Known, t: float, z: np.ndarray) -> float:
    """Share of the dimensions whose true mean is in the interval of the members'."""
    means = []
    for member in range(field.n_members):
        states, weight, _ = both_ways(field, known, t, member)
        means.append(np.average(states, axis=0, weights=weight))
    sampling = z.var(axis=0, ddof=1) / len(z)
    error = np.sqrt(np.var(means, axis=0, ddof=1) * (1 + 1 / len(means)) + sampling)
    return float((np.abs(np.mean(means, axis=0) - z.mean(axis=0)) < WIDTH * error).mean())


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--courses", nargs="+", default=list(COURSES), choices=list(COURSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    code = digest("src/**/*.py")[:8]
    rows: list[list[str]] = []
    for name in given.courses:
        runs = {
            (t, seed): kept(
                f"{name}-{t}-{seed}-{code}".replace(" ", "_"),
                "time_courses",
                lambda n=name, t=t, s=seed: measured(n, t, s),
            )
            for t in COURSES[name].left_out
            for seed in given.seeds
        }
        print(name, runs, flush=True)
        ways = next(iter(runs.values()))
        for way in ways:
            cells = []
            for score in ("energy, states", "W1, states", "energy, genes", "covered"):
                of_seeds = [
                    np.mean([runs[t, s][way].get(score, np.nan) for t in COURSES[name].left_out])
                    for s in given.seeds
                ]
                cells.append("" if np.isnan(of_seeds).any() else mean_sd(of_seeds, ".3f"))
            rows.append([name, way, *cells])
        by_time = pd.DataFrame(
            {
                t: [np.mean([runs[t, s][w]["energy, states"] for s in given.seeds]) for w in ways]
                for t in COURSES[name].left_out
            },
            index=list(ways),
        )
        print(by_time.round(3), flush=True)
    packages = ", ".join(f"{p} {version(p)}" for p in ("POT", "torch", "scvi-tools", "lucidvi"))
    command = shlex.join(["python", "benchmarks/time_courses.py", *sys.argv[1:]])
    header = ["", "", "energy, states", "W1, states", "energy, genes", "covered"]
    text = [
        "# Time courses",
        "",
        "Each inner time is left out, of the model and of the field, and predicted: stem cells "
        "(`klein_es`, days 2 and 4 of 0, 2, 4, 7) and neurons of the worm's embryo "
        "(`worm_embryo`, six of eight times of about an hour, batches as covariates). SCVI by "
        f"default on the {N_GENES} most variable genes of the cells that are not left out; fields "
        "on means of the posteriors, by default. *States*: of the cells that were left out, as "
        "the model encodes them. *Genes*: counts are drawn from what the model decodes at the "
        "predicted states, as deep as the true cells and in their batches, and compared with the "
        "true counts, both as log(1 + counts per 1,000). Energy distances have no bias of the "
        "size of samples: zero of a right answer, on average. *Covered*: share of the latent "
        "dimensions whose true mean is in the 90 % interval of the field's members. *Straight, "
        "no growth* is flow matching with exact couplings, the same code. *Halves of the time "
        "itself* is what two samples of half the cells have. Means over the times; mean and "
        f"standard deviation over {len(given.seeds)} seeds of model and field.",
        "",
        *table(header, rows),
        "",
        f"`{command}` on {cpu_model()}, one thread; {packages}.",
    ]
    report(page("time_courses.md", False), text)


if __name__ == "__main__":
    main()
