"""How close posteriors come: bounds, refinement and gaps, by known answers and on real cells.

``python benchmarks/inference.py`` rewrites ``benchmarks/inference.md``. All of it runs in one
process; where seconds are compared, the two take turns.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scvi
import torch
from _data import load, simulated
from _inference import accuracy, linear_gaussian, naive, naive_unfrozen
from _measure import machine, page, report, spread, table
from anndata import AnnData
from scvi import REGISTRY_KEYS

from lucidvi.inference import (
    NormalPosterior,
    PosteriorTarget,
    bracket,
    inference_gap,
    iwae,
    orthogonal_draws,
    refine,
    refined_ais,
)
from lucidvi.model import SCVI

DATASET, LABELLED = "pbmc4k_top2000", (("pbmc4k_top2000", None), ("lupus_t", "batch"))
MISSING = (0.0, 0.25, 0.5, 0.8)
RATES = (0.01, 0.02, 0.05)
TURNS = 5
WRONG = "lupus_t"

Lines = list[str]


def trained(adata: AnnData, quick: bool, batch_key: str | None = None, **kwargs: Any) -> SCVI:
    """Train an NB model, a tenth of the cells held out."""
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key=batch_key)
    model = SCVI(adata, gene_likelihood="nb")
    model.train(train_size=0.9, **({"max_epochs": 2} if quick else {}), **kwargs)
    return model


def held_out(model: SCVI, quick: bool) -> list[PosteriorTarget]:
    """Targets of the held-out cells, 128 at a time."""
    cells = model.validation_indices[: 128 if quick else None]
    loader = model._make_data_loader(model.adata, indices=cells, batch_size=128)
    return [PosteriorTarget.from_module(model.module, tensors) for tensors in loader]


def known_answers(n_cells: int) -> Lines:
    """Bounds and gaps of linear-Gaussian cells."""
    rows = []
    for n_latent in (2, 10, 50):
        for condition in (1.5, 1e3):
            for encoder in ("exact", "biased", "narrow"):
                torch.manual_seed(0)
                target = linear_gaussian(n_latent, condition, encoder, n_cells)
                rows.append([n_latent, condition, encoder, *_known(target)])
                print(*rows[-1], flush=True)
    header = ["latents", "condition", "encoder", "AIS within 3 s.e.", "IWAE trusted"]
    header += ["of these within 3 s.e.", "off by over 0.5", "of these flagged"]
    header += ["error of amortization gap", "of approximation gap"]
    return [
        "## Known answers",
        "",
        f"{n_cells:,} cells of linear-Gaussian models: `refined_ais` of 16 chains and 5 "
        "temperatures, `iwae` of 1,000 draws, gaps in nats (mean error).",
        "",
        *table(header, rows),
        "",
    ]


def _known(target: Any) -> list[str]:
    annealed, weighted = refined_ais(target, 16, 5), iwae(target, 1000)
    gap = inference_gap(target, 16, 5)
    truth, trusted = target.log_px, weighted.is_trusted
    # To the rounding error of the truth itself.
    within = [
        (estimate.log_px - truth).abs() <= 3 * estimate.standard_error + 1e-8
        for estimate in (annealed, weighted)
    ]
    off = (weighted.log_px - truth).abs() > 0.5
    errors = [
        float((getattr(gap, name) - getattr(target, name)).mean())
        for name in ("amortization_gap", "approximation_gap")
    ]
    shares = [share(within[0]), share(trusted), share(within[1][trusted]), share(off)]
    return [*shares, share(~trusted[off]), *(f"{error:+.4f}" for error in errors)]


def share(mask: torch.Tensor) -> str:
    """Share of true values, or a dash where there are none to ask."""
    return f"{float(mask.double().mean()):.3f}" if len(mask) else "-"


def refinement(targets: list[PosteriorTarget], quick: bool) -> Lines:
    """Refinement against naive optimisation of every cell by Adam."""
    fresh = orthogonal_draws(256, targets[0].n_latent, seed=99)

    def elbo(posteriors: list[NormalPosterior]) -> torch.Tensor:
        pairs = zip(posteriors, targets, strict=True)
        return torch.cat([posterior.elbo(target, fresh) for posterior, target in pairs])

    first = [NormalPosterior.from_distribution(target.q0) for target in targets]
    before = elbo(first)
    n_long, n_short = (50, 20) if quick else (1000, 200)
    rows = []
    for rate in RATES:
        gain = elbo([naive(target, n_long, rate) for target in targets]) - before
        rows.append([f"Adam, {n_long} steps, rate {rate}", f"{gain.mean():.3f}", "", ""])
    seconds: dict[str, list[float]] = {}
    gains: dict[str, torch.Tensor] = {}
    ways = {
        f"Adam, {n_short} steps, rate 0.02": lambda t: naive(t, n_short, 0.02),
        "the same, weights not frozen": lambda t: naive_unfrozen(t, n_short, 0.02),
        "refine, diagonal": lambda t: refine(t).posterior,
        "refine, full": lambda t: refine(t, "full").posterior,
    }
    for _ in range(2 if quick else TURNS):
        for name, way in ways.items():
            start = time.perf_counter()
            posteriors = [way(target) for target in targets]
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            gains[name] = elbo(posteriors) - before
    base = np.array(seconds["refine, diagonal"])
    for name, gain in gains.items():
        ratio = spread(np.array(seconds[name]) / base)
        cost = f"{1e3 * np.median(seconds[name]) / len(before):.2f}"
        rows.append([name, f"{gain.mean():.3f}", cost, ratio])
    gain = gains["refine, diagonal"]
    error = _errors(targets, first, fresh)
    return [
        "## Refinement",
        "",
        f"{len(before)} held-out cells of {DATASET}, minibatches of 128: ELBO on fixed fresh "
        f"draws, {before.mean():.2f} nats before. Refined, {int((gain < 0).sum())} cells are "
        f"lower than before, {int((gain < -error).sum())} by more than the Monte Carlo error.",
        "",
        *table(["way", "gain, nats a cell", "ms a cell", "seconds over refine's"], rows),
        "",
    ]


def _errors(targets: list, first: list[NormalPosterior], draws: torch.Tensor) -> torch.Tensor:
    """Monte Carlo error of the first guess's ELBO, were the draws independent."""
    deviations = [
        target.evaluate(posterior.at(draws)).std(dim=0)
        for target, posterior in zip(targets, first, strict=True)
    ]
    return torch.cat(deviations) / len(draws) ** 0.5


def both_sides(model: SCVI, n_cells: int) -> Lines:
    """Bounds from both sides, of cells simulated from the model."""
    torch.manual_seed(0)
    lower, upper = [], []
    for target, z in _simulated_cells(model, n_cells):
        bounds = bracket(target, z, 32, refine(target, "full").posterior.distribution)
        lower.append(bounds.lower.log_px)
        upper.append(bounds.upper.log_px)
    low, high = torch.cat(lower), torch.cat(upper)
    width = high - low
    return [
        "## From both sides",
        "",
        f"{n_cells} cells simulated from the model: forward AIS {low.mean():.3f}, reverse AIS "
        f"{high.mean():.3f} nats a cell, {width.mean():.3f} apart on average (95 % of the cells "
        f"under {width.quantile(0.95):.3f}).",
        "",
    ]


def _simulated_cells(model: SCVI, n_cells: int) -> Iterator[tuple[PosteriorTarget, torch.Tensor]]:
    totals = np.asarray(model.adata.X.sum(axis=1)).ravel()[:n_cells]
    for library in torch.tensor(totals).float().log().unsqueeze(-1).split(100):
        z = torch.randn(len(library), model.module.n_latent)
        none = torch.zeros(len(library), 1, dtype=torch.int64)
        with torch.no_grad():
            x = model.module.generative(z, library, none)["px"].sample()
        tensors = {
            REGISTRY_KEYS.X_KEY: x,
            REGISTRY_KEYS.BATCH_KEY: none,
            REGISTRY_KEYS.LABELS_KEY: none,
        }
        # The exposure that the cell was simulated with, and not the total that came out.
        target = PosteriorTarget.from_module(model.module, tensors)
        yield target.with_log_exposures({"rna": library}), z


def missing_genes(quick: bool) -> Lines:
    """Label accuracy of held-out cells of which genes are missing."""
    rows = []
    for name, batch_key in LABELLED:
        adata = load(name, 2_000)
        adata = adata[:1000].copy() if quick else adata
        model = trained(adata, quick, batch_key)
        cells = model.validation_indices[:1000]
        for missing in MISSING:
            measured = np.random.default_rng(0).random(adata.n_vars) >= missing
            zeroed = adata.copy()
            zeroed.X = adata.X.multiply(measured).tocsr()
            zeroed = zeroed[cells].copy()
            zeroed = zeroed[np.asarray(zeroed.X.sum(axis=1)).ravel() > 0].copy()
            by_encoder = model.get_latent_representation(zeroed)
            refined = model.refine_posterior(zeroed, genes=measured)
            scores = [accuracy(model, zeroed, z) for z in (by_encoder, refined.loc)]
            rows.append([name, f"{missing:.0%}", *(f"{score:.3f}" for score in scores)])
            print(*rows[-1], flush=True)
    return [
        "## Missing genes",
        "",
        "Label accuracy of held-out cells, by their 15 nearest neighbours among the cells "
        "trained on, with genes missing at random: set to zero and encoded, or refined with the "
        "likelihood of the measured genes.",
        "",
        *table(["data", "missing", "zeros, encoder", "refined"], rows),
        "",
    ]


def wrong_batch(quick: bool) -> Lines:
    """Refine cells of a batch that the decoder does not know."""
    adata = load(WRONG, 2_000)
    batch = adata.obs["batch"].astype(str).to_numpy()
    strange, known = np.unique(batch)[:2]
    rest, query = adata[batch != strange].copy(), adata[batch == strange].copy()
    rest, query = (
        (rest[:1000].copy(), query[:300].copy()) if quick else (rest, query[:2000].copy())
    )
    model = trained(rest, quick, "batch")
    query.obs["batch"] = known
    scores = [
        accuracy(model, query, z)
        for z in (model.get_latent_representation(query), model.refine_posterior(query).loc)
    ]
    return [
        "## A batch without parameters of its own",
        "",
        f"Cells of a batch of {WRONG} that the model never saw, decoded as another: label "
        f"accuracy {scores[0]:.3f} by the encoder, {scores[1]:.3f} refined. Refinement believes "
        "the decoder, so train on the batch first (`SCVI.load_query_data`).",
        "",
    ]


def large(quick: bool) -> Lines:
    """Seconds to refine many simulated cells."""
    n_cells = 1_000 if quick else 100_000
    adata = AnnData(simulated(n_cells))
    model = trained(adata, quick, **({} if quick else {"max_epochs": 3}))
    start = time.perf_counter()
    refined = model.refine_posterior()
    seconds = time.perf_counter() - start
    gain = (refined.elbo - refined.elbo_before).mean()
    return [
        "## Many cells",
        "",
        f"{n_cells:,} simulated cells x {adata.n_vars:,} genes: `refine_posterior` takes "
        f"{seconds:.1f} s, {1e3 * seconds / n_cells:.2f} ms a cell, for {gain:.2f} nats a cell.",
        "",
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-large", action="store_true", help="without the 100,000 cells")
    parser.add_argument("--quick", action="store_true", help="few cells, to try the script")
    return parser.parse_args()


def main() -> None:
    """Measure, and write the page."""
    given = arguments()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(given.threads)
    quick = given.quick
    adata = load(DATASET)
    model = trained(adata[:1000].copy() if quick else adata, quick)
    lines = ["# Inference", ""]
    lines += known_answers(50 if quick else 1000)
    lines += refinement(held_out(model, quick), quick)
    lines += both_sides(model, 50 if quick else 500)
    lines += missing_genes(quick)
    lines += wrong_batch(quick)
    lines += [] if given.skip_large else large(quick)
    lines += [f"`python benchmarks/inference.py` on {machine({'threads': given.threads})}"]
    report(page("inference.md", quick), lines)


if __name__ == "__main__":
    main()
