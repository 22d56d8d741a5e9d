"""A time left out: fields of cells of several times beside interpolation, and known growth.

``python benchmarks/dynamics.py`` rewrites ``benchmarks/dynamics.md``. Each fit is kept in
``benchmarks/.cache/dynamics``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import ot
import pandas as pd
import torch
from _data import DATA
from _measure import cpu_model, digest, mean_sd, page, report, table
from _mosaic import Scores, kept

from lucidvi import dynamics
from lucidvi.dynamics._energy import energy_distance

Samples = dict[float, np.ndarray]


@dataclass(frozen=True)
class Course:
    """A time course.

    Parameters
    ----------
    read
        Returns the states by time.
    left_out
        Times that are left out in turn.
    mass
        Whether numbers of cells are those of the population.
    growth
        Growth of a state, up to a factor, where it is known.
    is_one_cloud
        Whether the cells of a time are about normal.
    """

    read: Callable[[], Samples]
    left_out: tuple[float, ...]
    mass: str = "equal"
    growth: Callable[[np.ndarray], np.ndarray] | None = None
    is_one_cloud: bool = False


def of_file(name: str) -> Callable[[], Samples]:
    """Read states as they were published."""

    def read() -> Samples:
        cells = pd.read_csv(DATA / "dynamics" / f"{name}.csv")
        return {float(t): part.iloc[:, 1:].to_numpy() for t, part in cells.groupby("samples")}

    return read


COURSES = {
    "three genes": Course(
        of_file("simulation_gene_data"),
        (1, 2, 3),
        mass="cells",
        growth=lambda z: z[:, 1] ** 2 / (1 + z[:, 1] ** 2),
    ),
    "EMT": Course(of_file("emt"), (1, 2), mass="cells", is_one_cloud=True),
}


# -- ways to predict: cells and their weights, by where they start ------------------------------

Predictions = dict[str, tuple[np.ndarray, np.ndarray]]


def nearest(known: Samples, t: float, seed: int, mass: str) -> Predictions:
    """Take the cells of the time that is nearest, the earlier of two."""
    z = known[min(known, key=lambda other: (abs(other - t), other))]
    return {"": (z, np.ones(len(z)))}


def shifted(known: Samples, t: float, seed: int, mass: str) -> Predictions:
    """Shift the cells before by a share of the difference of the means."""
    before, after = neighbours(known, t)
    share = (t - before) / (after - before)
    z = known[before] + share * (known[after].mean(axis=0) - known[before].mean(axis=0))
    return {"": (z, np.ones(len(z)))}


def interpolated(known: Samples, t: float, seed: int, mass: str) -> Predictions:
    """Interpolate between the neighbouring times along the plan of least squared distance."""
    before, after = neighbours(known, t)
    x, y = known[before], known[after]
    plan = ot.emd(ot.unif(len(x)), ot.unif(len(y)), ot.dist(x, y), numItermax=10**7)
    i, j = np.nonzero(plan)
    share = (t - before) / (after - before)
    return {"": ((1 - share) * x[i] + share * y[j], plan[i, j])}


def flow(**arguments: Any) -> Callable[..., Predictions]:
    """Follow the cells of the time before, and those of the first, along a field."""

    def predict(known: Samples, t: float, seed: int, mass: str) -> Predictions:
        field = fitted(known, seed, **({"mass": mass} | arguments))
        found = {}
        for start, begin in {"before": neighbours(known, t)[0], "zero": min(known)}.items():
            z, log_mass = field.integrate(known[begin], begin, t)
            found[start] = z, np.exp(log_mass.astype(float))
        return found

    return predict


WAYS: dict[str, Callable[..., Predictions]] = {
    "nearest time": nearest,
    "shift of the mean": shifted,
    "exact interpolation": interpolated,
    "straight paths, no growth": flow(growth=False, bending=0.0, mass="equal"),
    "LucidVI": flow(),
}
#: Ways of which the seed matters.
FITTED = ("straight paths, no growth", "LucidVI")


def fitted(known: Samples, seed: int, **arguments: Any) -> dynamics.VectorField:
    """Fit a field."""
    z, when = joined(known)
    return dynamics.fit_flow(z, when, seed=seed, **arguments)


def joined(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Return states and times of all cells."""
    times = [np.full(len(z), t) for t, z in samples.items()]
    return np.concatenate(list(samples.values())), np.concatenate(times)


def neighbours(known: Samples, t: float) -> tuple[float, float]:
    """Return the times before and after another."""
    return max(k for k in known if k < t), min(k for k in known if k > t)


# -- scores -------------------------------------------------------------------------------------


def wasserstein(z: np.ndarray, weight: np.ndarray, truth: np.ndarray) -> float:
    """Exact distance of first order between weighted states and the true ones."""
    cost = ot.dist(z, truth, "euclidean")
    return float(ot.emd2(weight / weight.sum(), ot.unif(len(truth)), cost, numItermax=10**7))


def left_out(name: str, way: str, t: float, seed: int) -> dict[str, Scores]:
    """Predict a time from the others, and score by where the cells start."""
    course = COURSES[name]
    samples = course.read()
    known = {time: z for time, z in samples.items() if time != t}
    found = WAYS[way](known, t, seed, course.mass)
    return {
        start: {
            "W1": wasserstein(z, weight, samples[t]),
            "energy": energy_distance(z, weight, samples[t]),
        }
        for start, (z, weight) in found.items()
    }


def all_times(name: str, seed: int) -> Scores:
    """Fit all times, and follow the first one's cells."""
    course = COURSES[name]
    samples = course.read()
    first, *later = samples
    begin = time.process_time()
    field = fitted(samples, seed, mass=course.mass)
    seconds = time.process_time() - begin
    moved = field.integrate(samples[first], first, later)
    mass = np.exp(moved.log_mass.astype(float))
    w1 = [wasserstein(z, w, samples[t]) for z, w, t in zip(moved.z, mass, later, strict=True)]
    true = np.array([len(samples[t]) / len(samples[first]) for t in later])
    scores = {"W1, mean": np.mean(w1), "W1, worst": np.max(w1), "CPU seconds": seconds}
    if course.mass == "cells":
        error = np.abs(mass.mean(axis=1) / true - 1)
        scores |= {"mass error, mean": error.mean(), "mass error, worst": error.max()}
    if course.growth is not None:
        z, when = (
            np.concatenate(list(samples.values())),
            [[t] * len(z) for t, z in samples.items()],
        )
        found, truth = field.growth(z, np.concatenate(when)), course.growth(z)
        scores["growth, r"] = np.corrcoef(found, truth)[0, 1]
    return {key: float(value) for key, value in scores.items()}


def own_moments(name: str, t: float) -> float:
    """W1 of what knows the answer's mean and covariance, and nothing else of it."""
    truth = COURSES[name].read()[t]
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(truth.mean(axis=0), np.cov(truth.T), len(truth))
    return wasserstein(drawn, np.ones(len(drawn)), truth)


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--courses", nargs="+", default=list(COURSES), choices=list(COURSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    torch.set_num_threads(1)
    code = digest("src/lucidvi/dynamics/**/*.py")[:8]
    rows, of_all = [], []
    for name in given.courses:
        course = COURSES[name]
        for way in WAYS:
            seeds = given.seeds if way in FITTED else [0]
            runs = [
                [
                    kept(
                        f"{name}-{way}-{t}-{seed}-{code}".replace(" ", "_"),
                        "dynamics",
                        lambda n=name, w=way, t=t, s=seed: left_out(n, w, t, s),
                    )
                    for seed in seeds
                ]
                for t in course.left_out
            ]
            for start in runs[0][0]:
                scores = pd.DataFrame([[run[start] for run in of_time] for of_time in runs])
                w1 = scores.map(lambda one: one["W1"])
                energies = scores.map(lambda one: one["energy"]).mean(axis=1)
                cells = [
                    f"{mean_sd(values, '.3f')}; {far:.3f}"
                    for values, far in zip(w1.to_numpy(), energies, strict=True)
                ]
                cells += [""] * (3 - len(cells))
                rows.append([name, way, start, *cells, mean_sd(w1.mean(axis=0), ".3f")])
                print(rows[-1], flush=True)
        if course.is_one_cloud:
            floor = [f"{own_moments(name, t):.3f}" for t in course.left_out]
            rows.append([name, "*normal, own moments*", "", *floor, *[""] * (4 - len(floor))])
        runs = []
        for seed in given.seeds:
            key = f"{name}-all-{seed}-{code}".replace(" ", "_")
            runs.append(kept(key, "dynamics", lambda n=name, s=seed: all_times(n, s)))
        print(name, runs, flush=True)
        of_all += [[name, score, mean_sd([r[score] for r in runs], ".4f")] for score in runs[0]]
    packages = ", ".join(f"{p} {version(p)}" for p in ("POT", "torch", "lucidvi"))
    command = shlex.join(["python", "benchmarks/dynamics.py", *sys.argv[1:]])
    header = ["", "", "from", *(f"time {i} left out" for i in (1, 2, 3)), "W1, mean"]
    text = [
        "# Dynamics from time labels",
        "",
        "One time is left out and predicted: exact W1 and, after the semicolon, the energy "
        "distance (zero of a right answer, on average). *Three genes* and *EMT* as they were "
        "published (mass: numbers of cells). Fields are followed from the true cells of the time "
        "*before* or from time *zero*, and weighted by mass; all else is in between the "
        "neighbouring times. *Straight paths, no growth* is "
        "the same code with `growth=False, bending=0`: flow matching with exact couplings. Mean "
        f"and standard deviation over {len(given.seeds)} seeds; a training has no epoch to "
        "choose. The default price of growth, `relaxation=1`, was chosen with a simulated circle "
        "and the three genes in view, the times left out among them. "
        "*Normal, own moments* draws as many cells as there are from a normal with the "
        "mean and covariance of the time left out itself: what W1 is of a right answer.",
        "",
        *table(header, rows),
        "",
        "## All times",
        "",
        "Fitted to all times, and the first one's cells followed: W1 to the cells of the later "
        "times, relative error of the mass, correlation of growth with the true one.",
        "",
        *table(["", "", ""], of_all),
        "",
        f"`{command}` on {cpu_model()}, one thread; {packages}.",
    ]
    report(page("dynamics.md", False), text)


if __name__ == "__main__":
    main()
