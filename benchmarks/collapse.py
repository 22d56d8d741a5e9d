"""Cures of posterior collapse, in a training that collapses without them.

``python benchmarks/collapse.py`` rewrites ``benchmarks/collapse.md``. Results are kept in
``benchmarks/.cache/collapse``, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from _measure import CACHE, cpu_model, digest, mean_sd, page, report, table
from anndata import AnnData

N_DIMENSIONS, N_CELLS, N_GENES, N_UMIS, N_LATENT = 5, 1_500, 200, 300, 10
SEEDS, EPOCHS, N_DRAWS = (0, 1, 2), 40, 500
#: Networks without any normalization, the KL term at its full weight from the first step on.
MODEL = {"n_latent": N_LATENT, "n_layers": 2, "use_batch_norm": "none", "dropout_rate": 0.0}
PLAN = {"lr": 5e-3, "kl_warmup": 0.0}
NONE = "no cure"
#: Epochs and further arguments of the plan.
CURES: dict[str, tuple[int, dict[str, Any]]] = {
    NONE: (EPOCHS, {}),
    "no cure, four times as long": (4 * EPOCHS, {}),
    "linear warm-up, half": (EPOCHS, {"kl_warmup": 0.5}),
    "linear warm-up, 80 %": (EPOCHS, {"kl_warmup": 0.8}),
    "cyclical warm-up, half": (EPOCHS, {"kl_schedule": "cyclical", "kl_warmup": 0.5}),
    "cyclical warm-up, 80 %": (EPOCHS, {"kl_schedule": "cyclical", "kl_warmup": 0.8}),
    "free bits, 0.1": (EPOCHS, {"free_bits": 0.1}),
    "free bits, 0.5": (EPOCHS, {"free_bits": 0.5}),
    "free bits, 1": (EPOCHS, {"free_bits": 1.0}),
    "linear warm-up, half, and free bits, 0.5": (EPOCHS, {"kl_warmup": 0.5, "free_bits": 0.5}),
    "encoder first, 5 steps": (EPOCHS, {"encoder_steps": 5}),
    # As many steps of all weights as the others; a third of these wait for the encoder.
    "encoder first, 10 steps more": (4 * EPOCHS, {"encoder_steps": 10, "encoder_share": 0.825}),
    "mean norm, 0.3": (EPOCHS, {"mean_norm": 0.3}),
    "mean norm, 0.5": (EPOCHS, {"mean_norm": 0.5}),
    "mean norm, 0.7": (EPOCHS, {"mean_norm": 0.7}),
}
Result = dict[str, Any]


def simulate(seed: int) -> AnnData:
    """Cells of a log-linear model of a few dimensions, with few counts."""
    from scipy import sparse

    rng = np.random.default_rng((N_DIMENSIONS, seed))
    effect = rng.normal(size=(N_DIMENSIONS, N_GENES)) / np.sqrt(N_DIMENSIONS)
    logits = rng.normal(size=(N_CELLS, N_DIMENSIONS)) @ effect + rng.normal(size=N_GENES)
    rate = N_UMIS * np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    counts = rng.poisson(rate * rng.gamma(3, 1 / 3, rate.shape)).astype(np.float32)
    return AnnData(sparse.csr_matrix(counts))


def measure(cure: str, seed: int) -> Result:
    """Train one model; count its dimensions, and evaluate its held-out cells."""
    import scvi
    import torch

    from lucidvi import audit
    from lucidvi.model import SCVI

    scvi.settings.seed = seed
    adata, (epochs, plan) = simulate(seed), CURES[cure]
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood="nb", **MODEL)
    start = time.process_time()
    model.train(
        max_epochs=epochs,
        train_size=0.8,
        plan_kwargs=PLAN | {"warn_collapse": False} | plan,
        enable_progress_bar=False,
    )
    seconds = time.process_time() - start
    found = audit.run(model, checks=["collapse"])["collapse"]
    torch.manual_seed(0)
    log_px = model.get_marginal_ll(
        indices=model.validation_indices, n_mc_samples=N_DRAWS, return_mean=False
    )
    return {
        "active": found.active_units,
        "used": found.used_units,
        "information": found.mutual_information,
        "seconds": seconds,
        "log_px": np.asarray(log_px, dtype=float).tolist(),
    }


def measure_once(cure: str, seed: int) -> Result:
    """Measure, or read what was measured with the same sources."""
    sources = [digest("src/**/*.py"), digest("benchmarks/collapse.py")]
    key = hashlib.sha1(json.dumps([cure, seed, CURES[cure], *sources]).encode()).hexdigest()[:16]
    file = Path(CACHE) / "collapse" / f"{key}.json"
    if not file.exists():
        result = measure(cure, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(result))
        part.replace(file)
    return json.loads(file.read_text())


def row(cure: str, results: dict[tuple[str, int], Result]) -> list[str]:
    """Line of the table: means over the seeds, differences cell by cell."""
    own = [results[cure, seed] for seed in SEEDS]
    gains = [
        np.subtract(one["log_px"], results[NONE, seed]["log_px"])
        for one, seed in zip(own, SEEDS, strict=True)
    ]
    error = max(gain.std(ddof=1) / np.sqrt(len(gain)) for gain in gains)
    active = [one["active"] for one in own]
    within = all(abs(n - N_DIMENSIONS) <= 1 for n in active)
    return [
        cure,
        ", ".join(map(str, active)),
        mean_sd(active, ".1f"),
        "yes" if within else "no",
        mean_sd([one["information"] for one in own], ".1f"),
        "" if cure == NONE else f"{mean_sd([g.mean() for g in gains], '+.2f')} ({error:.2f})",
        mean_sd([one["seconds"] for one in own], ".1f"),
    ]


def main() -> None:
    """Measure, and write the page."""
    import logging
    import warnings

    import torch

    global SEEDS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, two cures")
    arguments = parser.parse_args()
    cures = list(CURES)
    if arguments.quick:
        SEEDS, cures = SEEDS[:1], [NONE, "free bits, 0.5"]
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    results = {}
    for seed in SEEDS:
        for cure in cures:
            results[cure, seed] = measure_once(cure, seed)
            one = results[cure, seed]
            print(seed, cure, one["active"], f"{np.mean(one['log_px']):.2f}", flush=True)
    header = ["", "active units", "mean", "within 1", "information", "log p(x)", "seconds"]
    lines = [
        "# Cures of posterior collapse",
        "",
        f"{N_CELLS:,} cells of {N_DIMENSIONS} dimensions (log-linear, {N_GENES} genes, about "
        f"{N_UMIS} counts a cell), a latent space of {N_LATENT}, two hidden layers each in "
        f"encoder and decoder without batch norm and dropout, NB, learning rate {PLAN['lr']:g}, "
        f"{EPOCHS} epochs, and the KL term at its full weight from the first step on: a training "
        f"that collapses. {len(SEEDS)} seeds, of data, weights and split; mean ± standard "
        "deviation over them. `active units` are those of `lucidvi.audit.run`, by seed, `within "
        f"1` says whether all are {N_DIMENSIONS - 1} to {N_DIMENSIONS + 1}. `information` is the "
        "mutual information of cells and latent states, nats. `log p(x)` is what the held-out "
        f"fifth gains on no cure, nats a cell ({N_DRAWS} importance samples), cell by cell; in "
        "parentheses the largest standard error of a seed. `seconds` are processor time of the "
        "training.",
        "",
        *table(header, [row(cure, results) for cure in cures]),
        "",
        "`encoder first, 5 steps` has as many minibatches as the others, so fewer steps of all "
        "weights; `10 steps more` has as many steps of all weights, and is to be compared with no "
        "cure, four times as long, which has as many minibatches.",
        "",
        f"{cpu_model()}. `python benchmarks/{Path(__file__).name}`",
    ]
    report(page("collapse.md", arguments.quick), lines)


if __name__ == "__main__":
    main()
