"""Sources behind simulated counts, and whether latent axes are these sources.

``python benchmarks/identifiability.py`` rewrites ``benchmarks/identifiability.md``. Results are
kept in ``benchmarks/.cache/identifiability``, so a run that was broken off goes on where it was.

The simulation is that of nonlinear independent component analysis (Hyvärinen and Morioka 2016,
Khemakhem et al. 2020): independent sources whose variances depend on the condition, mixed by a
leaky perceptron that can be inverted. All sources have the same variance over all cells, and the
mixing is orthogonal but for its bends, so that nothing but the condition tells them apart.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from typing import Any

import numpy as np
import pandas as pd
from _measure import CACHE, cpu_model, digest, mean_sd, page, report, table
from anndata import AnnData
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

N_SOURCES, N_CONDITIONS, N_CELLS, N_GENES, SEEDS = 5, 40, 200, 300, (0, 1, 2, 3, 4)
#: In each condition, the range of the standard deviation of a source and the standard deviation
#: of its mean, before it is scaled to unit variance over all cells: variances tell all there is.
SPREAD, MEANS = (0.5, 3.0), 0.0
N_LAYERS, SLOPE = 2, 0.2
#: Standard deviation of log expression of a gene over cells, mean total count and the standard
#: deviation of its logarithm, inverse dispersion.
SIGNAL, DEPTH, DEPTH_SD, THETA = 0.8, 5_000, 0.3, 5.0
STANDARD, CONDITIONAL = "standard normal", "conditional"
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    STANDARD: ({}, {}),
    CONDITIONAL: ({"prior": "conditional"}, {}),
    "conditional, axes not aligned": ({"prior": "conditional"}, {"align_axes": None}),
}
#: Ways of the table of each width of the latent space.
TABLES: dict[int, tuple[str, ...]] = {
    N_SOURCES: tuple(WAYS),
    2 * N_SOURCES: (STANDARD, CONDITIONAL),
}
Task = tuple[int, str, int]


def simulate(seed: int) -> tuple[AnnData, np.ndarray]:
    """Draw counts, and their sources of unit variance, shape ``(n_cells, N_SOURCES)``."""
    rng = np.random.default_rng(seed)
    condition = np.repeat(np.arange(N_CONDITIONS), N_CELLS)
    shape = len(condition), N_SOURCES
    scale = rng.uniform(*SPREAD, (N_CONDITIONS, N_SOURCES))
    loc = MEANS * rng.normal(size=(N_CONDITIONS, N_SOURCES))
    sources = standardized(loc[condition] + scale[condition] * rng.normal(size=shape))
    mixed = sources
    for _ in range(N_LAYERS):
        mixed = mixed @ orthonormal(rng, N_SOURCES, N_SOURCES)
        mixed = standardized(np.where(mixed > 0, mixed, SLOPE * mixed))
    loadings = orthonormal(rng, N_GENES, N_SOURCES).T * np.sqrt(N_GENES / N_SOURCES)
    rate = np.exp(SIGNAL * mixed @ loadings + rng.normal(size=N_GENES))
    depth = DEPTH * np.exp(DEPTH_SD * rng.normal(size=(len(rate), 1)))
    rate *= depth / rate.sum(axis=1, keepdims=True)
    counts = rng.poisson(rate * rng.gamma(THETA, 1 / THETA, rate.shape)).astype(np.float32)
    names = [f"cell{i}" for i in range(len(counts))]
    obs = pd.DataFrame({"condition": condition.astype(str)}, index=names)
    return AnnData(sparse.csr_matrix(counts), obs=obs), sources


def orthonormal(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    """Orthonormal columns, shape ``(n, k)``."""
    return np.linalg.qr(rng.normal(size=(n, k)))[0]


def standardized(x: np.ndarray) -> np.ndarray:
    """Columns of mean zero and unit variance."""
    return (x - x.mean(axis=0)) / x.std(axis=0)


def mean_correlation(latent: np.ndarray, sources: np.ndarray) -> float:
    """Mean absolute correlation of the sources with an axis each, matched one to one (MCC)."""
    k = sources.shape[1]
    correlation = np.abs(np.corrcoef(latent.T, sources.T)[:-k, -k:])
    rows, columns = linear_sum_assignment(-correlation)
    return float(correlation[rows, columns].mean())


def explained(latent: np.ndarray, sources: np.ndarray) -> float:
    """R² of a linear regression of the sources on all axes, which no rotation changes."""
    x = np.column_stack([latent, np.ones(len(latent))])
    rest = sources - x @ np.linalg.lstsq(x, sources, rcond=None)[0]
    return float(1 - rest.var(axis=0).mean() / sources.var(axis=0).mean())


def recovery(task: Task) -> dict[str, float]:
    """Train one model, and compare its latent axes with the sources on its held-out cells."""
    import logging
    import warnings

    import scvi
    import torch

    from lucidvi.model import SCVI

    file = cached(task)
    if not file.exists():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        torch.set_num_threads(1)
        seed, way, n_latent = task
        adata, sources = simulate(seed)
        scvi.settings.seed = seed
        SCVI.setup_anndata(adata, labels_key="condition")
        options, plan = WAYS[way]
        model = SCVI(adata, n_latent=n_latent, gene_likelihood="nb", **options)
        start = time.process_time()
        model.train(plan_kwargs=plan, enable_progress_bar=False)
        seconds = time.process_time() - start
        cells = model.validation_indices
        latent, sources = model.get_latent_representation(indices=cells), sources[cells]
        result = {
            "mcc": mean_correlation(latent, sources),
            "rank": mean_correlation(rankdata(latent, axis=0), rankdata(sources, axis=0)),
            "explained": explained(latent, sources),
            "elbo": float(model.get_elbo(indices=cells).item()),
            "seconds": seconds,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(result))
        part.replace(file)
    print(task, file.read_text(), flush=True)
    return json.loads(file.read_text())


def cached(task: Task) -> Any:
    """File of a result, which holds for these sources."""
    key = json.dumps([task, digest("src/**/*.py"), digest("benchmarks/identifiability.py")])
    return CACHE / "identifiability" / f"{hashlib.sha1(key.encode()).hexdigest()[:16]}.json"


def section(n_latent: int, ways: tuple[str, ...]) -> list[str]:
    """Table of one width of the latent space."""
    results = {w: [recovery((s, w, n_latent)) for s in SEEDS] for w in ways}
    rows = []
    for way in ways:
        read = {name: [one[name] for one in results[way]] for name in results[way][0]}
        pairs = zip(read["mcc"], results[STANDARD], strict=True)
        gains = [mcc - base["mcc"] for mcc, base in pairs]
        row = [way, mean_sd(read["mcc"]), f"{min(read['mcc']):.2f}"]
        row += ["" if way == STANDARD else mean_sd(gains, "+.2f"), mean_sd(read["rank"])]
        row += [mean_sd(read["explained"]), mean_sd(read["elbo"])]
        rows.append([*row, mean_sd(read["seconds"], ".0f")])
    header = ["prior", "MCC", "least", "gain", "MCC of ranks", "R²", "ELBO", "CPU seconds"]
    return [f"## n_latent={n_latent}", "", *table(header, rows), ""]


def main() -> None:
    """Measure, and write the page."""
    global SEEDS, N_CELLS, N_GENES
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few cells and genes")
    quick = parser.parse_args().quick
    if quick:
        SEEDS, N_CELLS, N_GENES = SEEDS[:1], 50, 100
    sections = [line for one in TABLES.items() for line in section(*one)]
    lines = [
        "# Identifiability: are latent axes the sources?",
        "",
        f"{N_SOURCES} independent sources, normal in each of {N_CONDITIONS} conditions of "
        f"{N_CELLS} cells, with mean zero and standard deviations uniform in {SPREAD[0]} to "
        f"{SPREAD[1]}, then scaled to unit variance over all cells. Mixed by {N_LAYERS} layers, "
        f"each orthogonal, a leaky ReLU of slope {SLOPE}, and scaling to unit variance, then "
        "by orthogonal loadings to log "
        f"expression of {N_GENES} genes, standard deviation {SIGNAL}, around standard normal "
        f"baselines. Total counts log-normal around {DEPTH:,} (standard deviation {DEPTH_SD}), "
        f"negative binomial counts of inverse dispersion {THETA:g}. The model is NB, all else is "
        "default, and the same for all priors; the condition is known to the prior alone "
        f"(`labels_key`). {len(SEEDS)} seeds of simulation and training, mean ± standard "
        "deviation, on the tenth of the cells that is held out.",
        "",
        "`MCC` is the mean absolute correlation of the sources with posterior means, an axis for "
        "each source, matched one to one; `least` that of the worst seed, `gain` over the "
        "standard normal prior, seed by seed. `R²` is of a linear regression of the sources on "
        "all axes: what is known of the sources, whatever the axes. It bounds MCC: an axis for "
        "itself cannot correlate by more than the root of it, on average. "
        "`ELBO` is in nats a held-out cell; that of a conditional prior is given the condition.",
        "",
        *sections,
        f"{cpu_model()}, one thread. `python benchmarks/identifiability.py`",
    ]
    report(page("identifiability.md", quick), lines)


if __name__ == "__main__":
    main()
