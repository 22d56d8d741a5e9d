"""Whether axes of two trainings agree, before and after ``model.canonicalize()``.

``python benchmarks/canonical_axes.py`` rewrites ``benchmarks/canonical_axes.md``. What was trained
is kept in ``benchmarks/.cache/canonical_axes`` until the definition of the axes changes, so a run
that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _data import load
from _measure import CACHE, cpu_model, digest, mean_sd, page, report, table
from anndata import AnnData
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import ortho_group, skew

N_GENES, SEEDS = 1_000, (0, 1, 2)
SIMULATED, REAL = ("linear", "mlp"), ("pbmc4k_top2000", "pbmc_facs", "cortex_zeisel")
#: Data set and family of the posterior.
CASES = [(name, "diagonal") for name in (*SIMULATED, *REAL)]
CASES += [("mlp", "full"), ("pbmc4k_top2000", "full")]
#: Variance over cells of the posterior mean from which an axis counts as in use.
IN_USE = 0.1
#: Matched axes whose signs are compared.
MATCHED = 0.5
Task = tuple[str, str, int]
Run = dict[str, np.ndarray]


def simulate(decoder: str, n_cells: int = 3_000, n_genes: int = 800) -> AnnData:
    """Simulate cells with five latent dimensions of unequal strength, 1.5 to 0.5."""
    rng = np.random.default_rng(0)
    strength = np.linspace(1.5, 0.5, 5)[:, None]
    z = rng.normal(size=(n_cells, 5))
    if decoder == "linear":
        logits = z @ (0.35 * strength * rng.normal(size=(5, n_genes)))
    else:
        hidden = np.tanh(z @ (strength * rng.normal(size=(5, 64))) / 1.5 + rng.normal(size=64))
        logits = hidden @ (0.12 * rng.normal(size=(64, n_genes)))
    rate = np.exp(logits + rng.normal(size=n_genes))
    rate *= np.exp(rng.normal(np.log(1500), 0.3, size=(n_cells, 1))) / rate.sum(1, keepdims=True)
    counts = rng.poisson(rate * rng.gamma(5, 1 / 5, size=rate.shape)).astype(np.float32)
    return AnnData(sparse.csr_matrix(counts))


def train(task: Task) -> Path:
    """Train a model, and keep its means in its own axes, and the matrix to its canonical ones."""
    import logging
    import warnings

    import scvi
    import torch

    from lucidvi.inference import PosteriorTarget, canonical, information_metric
    from lucidvi.model import SCVI

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    dataset, posterior, seed = task
    axes = digest("src/lucidvi/inference/_axes.py")
    key = hashlib.sha1(json.dumps([task, N_GENES, axes]).encode()).hexdigest()[:16]
    file = CACHE / "canonical_axes" / f"{key}.npz"
    if file.exists():
        return file
    adata = simulate(dataset) if dataset in SIMULATED else load(dataset, N_GENES)
    scvi.settings.seed = seed
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood="nb", posterior=posterior)
    model.train(enable_progress_bar=False)
    loc = model.get_latent_representation()
    cells = np.random.default_rng(0).permutation(adata.n_obs)[:500]
    metrics = [
        information_metric(PosteriorTarget.from_module(model.module, tensors), loc.shape[1])
        for tensors in model._make_data_loader(adata=adata, indices=cells)
    ]
    elbo = elbos(model)
    matrix = model.canonicalize()
    change = elbos(model) - elbo
    parts = {
        "loc": loc,
        "directions": matrix,
        "metric": canonical(np.concatenate(metrics))[1],
        "effects": gene_effects(model, adata),
        "expression": np.asarray(adata.X.mean(axis=0)).ravel(),
        "change": np.abs(change).max(),
        "relative": np.abs(change / elbo).max(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.npz")
    np.savez(part, **parts)
    part.replace(file)
    print(task, flush=True)
    return file


def elbos(model: Any) -> np.ndarray:
    """ELBO of 500 cells at one draw each, from one seed, in nats."""
    import torch

    torch.manual_seed(0)
    cells, values = np.arange(min(500, model.adata.n_obs)), []
    with torch.inference_mode():
        for tensors in model._make_data_loader(adata=model.adata, indices=cells):
            losses = model.module(tensors)[2]
            terms = [*losses.reconstruction_loss.values(), *losses.kl_local.values()]
            values.append(-sum(term.double() for term in terms))
    return torch.cat(values).numpy()


def gene_effects(model: Any, adata: AnnData) -> np.ndarray:
    """Covariance of each axis with the log expression of each gene, ``(n_latent, n_genes)``."""
    loc = model.get_latent_representation()
    cells = np.random.default_rng(1).permutation(adata.n_obs)[:1000]
    expression = np.log(model.get_normalized_expression(indices=cells, return_numpy=True))
    centred = loc[cells] - loc[cells].mean(axis=0)
    return centred.T @ (expression - expression.mean(axis=0)) / len(cells)


def matched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlations of the axes of two runs, matched so that they are largest, by rank."""
    both = np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]
    return both[linear_sum_assignment(-np.abs(both))]


def largest(coordinates: np.ndarray, n_axes: int) -> np.ndarray:
    """Take the axes of largest variance."""
    return coordinates[:, np.argsort(-coordinates.var(axis=0))[:n_axes]]


#: Coordinates of the cells by the axes they refer to; the seed is that of the random rotation.
AXES: dict[str, Callable[[Run, Any], np.ndarray]] = {
    "raw": lambda run, _: run["loc"],
    "turned at random": lambda run, rng: run["loc"] @ ortho_group.rvs(10, random_state=rng),
    "information metric": lambda run, _: run["loc"] @ run["metric"],
    "canonical": lambda run, _: run["loc"] @ run["directions"],
}
#: What may fix the sign of a canonical axis; that of the model is the first.
SIGNS: dict[str, Callable[[Run], np.ndarray]] = {
    "cubed effects": lambda run: np.ones(run["loc"].shape[1]),
    "cubed effects, weighted": lambda run: run["effects"] ** 3 @ run["expression"],
    "largest effect": lambda run: np.take_along_axis(
        run["effects"], np.abs(run["effects"]).argmax(axis=1)[:, None], axis=1
    )[:, 0],
    "skewness": lambda run: skew(AXES["canonical"](run, None)),
}


def agreement(runs: list[Run]) -> tuple[dict[str, dict[str, list[float]]], int]:
    """Mean matched correlation of each pair of runs, of all axes and of those in use."""
    n_used = min(int((run["loc"].var(axis=0) > IN_USE).sum()) for run in runs)
    found: dict[str, dict[str, list[float]]] = {}
    for name, turn in AXES.items():
        rng = np.random.default_rng(0)
        turned = [turn(run, rng) for run in runs]
        pairs = list(itertools.combinations(turned, 2))
        used = [matched(largest(a, n_used), largest(b, n_used)) for a, b in pairs]
        found[name] = {
            "all": [float(np.abs(matched(a, b)).mean()) for a, b in pairs],
            "used": [float(np.abs(one).mean()) for one in used],
        }
    return found, n_used


def signs_agree(runs: list[Run]) -> dict[str, list[bool]]:
    """Whether matched axes are positively correlated, by what fixes their signs."""
    found: dict[str, list[bool]] = {name: [] for name in SIGNS}
    for a, b in itertools.combinations(runs, 2):
        x, y = AXES["canonical"](a, None), AXES["canonical"](b, None)
        both = np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]
        i, j = linear_sum_assignment(-np.abs(both))
        clear = np.abs(both[i, j]) > MATCHED
        for name, rule in SIGNS.items():
            signed = rule(a)[i] * rule(b)[j] * both[i, j]
            found[name] += list(signed[clear] > 0)
    return found


def main() -> None:
    """Train, compare, and write the page."""
    global CASES, SEEDS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one simulated data set, two seeds")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.quick:
        CASES, SEEDS = CASES[:1], SEEDS[:2]
    tasks = [(*case, seed) for seed in SEEDS for case in CASES]
    # Each process reads what OpenMP may use when it starts.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        files = dict(zip(tasks, pool.map(train, tasks), strict=True))
    runs = {task: dict(np.load(file)) for task, file in files.items()}
    by_case = {case: [runs[(*case, seed)] for seed in SEEDS] for case in CASES}
    report(page("canonical_axes.md", arguments.quick), text(by_case))


def text(by_case: dict[tuple[str, str], list[Run]]) -> list[str]:
    """Lines of the page."""
    rows: dict[str, list[list[Any]]] = {"used": [], "all": []}
    signs: dict[str, list[bool]] = {name: [] for name in SIGNS}
    for case, runs in by_case.items():
        found, n_used = agreement(runs)
        for kind, lines in rows.items():
            cells = [mean_sd(found[name][kind]) for name in AXES]
            lines.append([case[0], case[1], *([n_used] if kind == "used" else []), *cells])
        for name, same in signs_agree(runs).items():
            signs[name] += same
    every = [run for runs in by_case.values() for run in runs]
    change, relative = (max(float(run[key]) for run in every) for key in ("change", "relative"))
    shares = ", ".join(f"{name} {np.mean(same):.0%}" for name, same in signs.items())
    n_signs = len(signs["skewness"])
    return [
        "# Canonical axes",
        "",
        "Mean absolute correlation of the posterior means of two trainings, axes matched so that "
        f"it is largest; mean ± standard deviation over the pairs of {len(SEEDS)} seeds. NB, 10 "
        "latent dimensions, default training. Simulated are 3,000 cells x 800 genes with five "
        "dimensions of unequal strength, decoded linearly or by a network; of real data the "
        f"{N_GENES:,} most variable genes. `raw` are the axes as trained; `turned at random` the "
        "same turned by a random rotation, which fits as well where the posterior has a full "
        "covariance; `information metric` the eigenvectors of the mean Fisher information of the "
        "counts about the latent state, `canonical` those of `model.canonicalize()`.",
        "",
        "## Axes in use",
        "",
        f"As many as have a variance of the posterior mean above {IN_USE} in each training before "
        "they are turned, those of largest variance.",
        "",
        *table(["data", "posterior", "in use", *AXES], rows["used"]),
        "",
        "## All axes",
        "",
        "Axes that are not in use are noise, with nothing to agree on; a random rotation spreads "
        "those in use over all ten, which alone makes them correlate.",
        "",
        *table(["data", "posterior", *AXES], rows["all"]),
        "",
        "## Signs and ELBO",
        "",
        f"Of {n_signs} pairs of canonical axes with a correlation above {MATCHED}, it is positive "
        f"for this share, by what fixes the sign: {shares} (by chance 50%).",
        "",
        f"The ELBO of a cell at one draw, in float32, changes by at most {change:.1e} nats, "
        f"{relative:.1e} of its value ({len(every)} models, 500 cells each).",
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/canonical_axes.py`",
    ]


if __name__ == "__main__":
    main()
