"""Whether simulated cells are like real ones, and whether counts that were not seen are predicted.

``python benchmarks/simulate.py`` rewrites ``benchmarks/simulate.md``.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
from _data import load
from _measure import cpu_model, page, report, table
from anndata import AnnData
from scipy import sparse

DATASETS = ("pbmc3k", "cortex_zeisel", "pbmc4k_top2000")
N_GENES, SEED = 2_000, 0
LIKELIHOODS = ("nb", "zinb")
#: Replicates of the held-out cells, and draws of each thinned cell.
N_REPLICATES = 20
#: Share of the cells in which a gene has to be found to be judged, as in the audit.
EXPRESSED_MIN = 0.05
#: Share of a gene's sum of squares from which on a single count makes its variance.
SINGLE_MIN = 1 / 3
KEPT = 0.25
#: Columns of the tables, by what is measured.
CELLS = {
    "coverage": "coverage",
    "mean": "mean in band",
    "variance": "variance in band",
    "variance_off": "variance off by",
    "zeros": "zeros in band",
    "zeros_off": "zeros off by",
}
DEPTHS = {
    "correlation": "correlation",
    "better": "genes better than scaling",
    "unseen": "correlation, unseen counts",
    "error": "RMSE",
    "coverage": "coverage of 90 % intervals",
}


def trained(name: str, likelihood: str, epochs: int | None) -> tuple[Any, np.ndarray]:
    """Return a model of default arguments, and the cells that were held out of its training."""
    import scvi

    from lucidvi.model import SCVI

    scvi.settings.seed = SEED
    adata = load(name, N_GENES)
    adata.X = sparse.csr_matrix(adata.X)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood=likelihood)
    model.train(max_epochs=epochs, enable_progress_bar=False)
    return model, np.sort(model.validation_indices)


def coverage(x: np.ndarray, draws: np.ndarray) -> float:
    """Share of values in the central 90 % of their draws, ranks among equals at random.

    Exact for any number of draws, if value and draws are of one distribution.

    Parameters
    ----------
    x
        Values, any shape.
    draws
        Of each value, shape ``(n_draws, *x.shape)``.
    """
    rng = np.random.default_rng(SEED)
    below, equal = (draws < x).sum(axis=0), (draws == x).sum(axis=0)
    rank = (below + rng.random(x.shape) * (equal + 1)) / (len(draws) + 1)
    return float((np.abs(rank - 0.5) <= 0.45).mean())


def single_counts(adata: AnnData) -> tuple[int, int]:
    """Count the expressed genes whose variance a single count makes, and the expressed genes."""
    squares = sparse.csc_matrix(adata.X).power(2)
    expressed = squares.getnnz(axis=0) >= EXPRESSED_MIN * adata.n_obs
    share = squares.max(axis=0).toarray().ravel() / squares.sum(axis=0).A1.clip(min=1)
    return int((share[expressed] > SINGLE_MIN).sum()), int(expressed.sum())


def in_band(observed: np.ndarray, replicated: np.ndarray) -> float:
    """Share of genes whose statistic is in the central 90 % of the replicates'."""
    return coverage(observed, replicated)


def look(counts: np.ndarray, replicates: np.ndarray) -> dict[str, float]:
    """Compare cells with replicates of the same number of cells, gene by gene.

    Parameters
    ----------
    counts
        Shape ``(n_cells, n_genes)``.
    replicates
        Shape ``(n_replicates, n_cells, n_genes)``.
    """
    zeros, drawn_zeros = (counts == 0).mean(axis=0), (replicates == 0).mean(axis=1)
    expected = drawn_zeros.mean(axis=0)
    by_chance = expected * (1 - expected) / len(counts)
    off = ((zeros - expected) ** 2 - by_chance).mean()
    error = np.sqrt(2 * (by_chance**2).sum()) / len(zeros)
    variance, drawn_variance = counts.var(axis=0), replicates.var(axis=1)
    ratio = np.log(variance / drawn_variance.mean(axis=0))
    return {
        "mean": in_band(counts.mean(axis=0), replicates.mean(axis=1)),
        "variance": in_band(variance, drawn_variance),
        "zeros": in_band(zeros, drawn_zeros),
        "zeros_off": float(np.sqrt(off)) if off > 2 * error else 0.0,
        "variance_off": float(np.exp(np.median(np.abs(ratio)))),
    }


def residual_coverage(counts: np.ndarray, cells: np.ndarray) -> float:
    """Share of counts in the central 90 % of all sampled cells' counts of the gene."""
    rng = np.random.default_rng(SEED)
    inside = []
    for x, drawn in zip(counts.T, np.sort(cells, axis=0).T, strict=True):
        lower, upper = (np.searchsorted(drawn, x, side) / len(drawn) for side in ("left", "right"))
        inside.append(np.abs(lower + rng.random(len(x)) * (upper - lower) - 0.5) <= 0.45)
    return float(np.mean(inside))


def simulated_cells(model: Any, held_out: np.ndarray) -> dict[str, dict[str, float]]:
    """Judge posterior predictive counts and sampled cells by the held-out cells."""
    from lucidvi import audit, simulate

    n = len(held_out)
    counts = model.adata.X[held_out].toarray()
    expressed = (counts > 0).mean(axis=0) >= EXPRESSED_MIN
    counts = counts[:, expressed]

    def dense(out: AnnData) -> np.ndarray:
        return out.X[:, expressed].toarray().reshape(N_REPLICATES, n, -1)

    fit = audit.run(model, checks=["fit"])["fit"]
    replicates = dense(simulate.switch_covariates(model, indices=np.tile(held_out, N_REPLICATES)))
    found = {"posterior predictive": look(counts, replicates) | {"coverage": fit.coverage_90}}
    for name, source in (("aggregate", "posterior"), ("prior", "prior")):
        cells = dense(simulate.sample_cells(model, N_REPLICATES * n, source=source))
        covered = residual_coverage(counts, cells.reshape(-1, counts.shape[1]))
        found[name] = look(counts, cells) | {"coverage": covered}
    return found


def correlations(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation over the cells for each gene, 0 where a prediction is constant."""
    first, second = (v - v.mean(axis=0) for v in (predicted, truth))
    size = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.divide((first * second).sum(axis=0), size, out=np.zeros(len(size)), where=size > 0)


def resequenced(model: Any, held_out: np.ndarray) -> dict[str, dict[str, float]]:
    """Thin held-out cells to a quarter, and predict them back to their depth."""
    from lucidvi import simulate

    thin = simulate.resequence(model, depth_factor=KEPT, indices=held_out)
    seen = np.asarray(thin.X.sum(axis=1)).ravel() > 0
    thin, held_out = thin[seen].copy(), held_out[seen]
    truth = model.adata.X[held_out].toarray()
    few = thin.X.toarray()
    ratio = truth.sum(axis=1, keepdims=True) / few.sum(axis=1, keepdims=True)
    expressed = ((truth > 0).mean(axis=0) >= EXPRESSED_MIN) & (truth - few).any(axis=0)
    rng = np.random.default_rng(SEED)
    scaled = np.stack([few + rng.poisson((ratio - 1) * few) for _ in range(N_REPLICATES)])
    predictions = {"scaling": (ratio * few, scaled)}
    tiled = np.tile(np.arange(thin.n_obs), N_REPLICATES)
    depth = truth.sum(axis=1)
    for posterior in ("encoder", "refined"):
        many = simulate.resequence(
            model, thin, np.tile(depth, N_REPLICATES), indices=tiled, posterior=posterior
        )
        drawn = many.X.toarray().reshape(N_REPLICATES, *truth.shape)
        out = simulate.resequence(model, thin, depth, posterior=posterior, n_samples=N_REPLICATES)
        predictions[posterior] = (out.layers["expected"], drawn)
    found = {}
    baseline = correlations(ratio * few, truth)[expressed]
    for name, (expected, drawn) in predictions.items():
        whole = correlations(expected, truth)[expressed]
        unseen = correlations(expected - few, truth - few)[expressed]
        found[name] = {
            "correlation": float(np.median(whole)),
            "better": float((whole > baseline).mean()),
            "unseen": float(np.median(unseen)),
            "coverage": coverage(truth[:, expressed], drawn[:, :, expressed]),
            "error": float(np.sqrt(((expected - truth)[:, expressed] ** 2).mean())),
        }
    return found


def main() -> None:
    """Measure, and write the page."""
    import logging
    import warnings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, five epochs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    cells, depths, singles = [], [], {}
    for likelihood in LIKELIHOODS:
        for name in DATASETS[: 1 if arguments.quick else None]:
            model, held_out = trained(name, likelihood, 5 if arguments.quick else None)
            singles[name] = single_counts(model.adata)
            for way, found in simulated_cells(model, held_out).items():
                met = 0.87 <= found["coverage"] <= 0.93 and found["zeros_off"] <= 0.02
                values = [f"{found[key]:.3f}" for key in CELLS]
                cells.append([name, likelihood, way, *values, "yes" if met else "no"])
                print(cells[-1], flush=True)
            for way, found in resequenced(model, held_out).items():
                depths.append([name, likelihood, way, *(f"{found[key]:.3f}" for key in DEPTHS)])
                print(depths[-1], flush=True)
            report(page("simulate.md", arguments.quick), written(cells, depths, singles))


def written(
    cells: list[list[str]], depths: list[list[str]], singles: dict[str, tuple[int, int]]
) -> list[str]:
    """Return the lines of the page."""
    made = "; ".join(f"{name} {few:,} of {n:,}" for name, (few, n) in singles.items())
    return [
        "# Simulated cells beside real ones",
        "",
        "LucidVI with the likelihood named, otherwise default arguments and training, one seed; "
        f"the {N_GENES:,} most variable "
        "genes; judged by the cells held out of the training and the genes found in at least "
        f"{EXPRESSED_MIN:.0%} of them.",
        "",
        "## Are new cells like the data?",
        "",
        "*Coverage*: share of the held-out counts in their 90 % predictive interval; of the "
        "posterior predictive as `lucidvi.audit` finds it (at one draw of each cell's state), of "
        "sampled cells within the gene's counts in all of them. *In band*: share of the genes "
        f"whose statistic over the held-out cells is in the central 90 % of {N_REPLICATES} "
        "replicates of as many simulated cells; 0.90 if these are like the data. *Off by*: the "
        "typical (median) factor between observed and simulated variance of a gene, and the root "
        "mean square error of the share of zeros beyond chance, as in the audit. *Met*: coverage "
        "between 0.87 and 0.93, and zeros off by no more than the audit's 0.02.",
        "",
        *table(["", "likelihood", "states from", *CELLS.values(), "met"], cells),
        "",
        "Genes whose variance a single count makes (more than a third of the sum of squares over "
        f"all cells), of those found in {EXPRESSED_MIN:.0%} of them: {made}. No likelihood that "
        "cells share has such counts, and whether the held-out cells have them is chance, so "
        "that variances of these genes are not to be expected in the band.",
        "",
        "## Are counts predicted that were not seen?",
        "",
        f"Held-out cells are thinned to {KEPT:.0%} of their counts and predicted back to the full "
        "depth (`resequence`). *Scaling* multiplies the counts that are left; its intervals are "
        "those of a Poisson. Correlations are over cells for each gene, median over the genes: "
        "with the full counts (of which the counts that are left are a part), and of what was "
        "added with what was taken away. *RMSE* is that of the full counts.",
        "",
        *table(["", "likelihood", "prediction", *DEPTHS.values()], depths),
        "",
        f"{cpu_model()}, {os.cpu_count()} cores. `python benchmarks/simulate.py`",
    ]


if __name__ == "__main__":
    main()
