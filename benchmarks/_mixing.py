"""How well ways to train mix batches: scib's scores and held-out log p(x) of each."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

import numpy as np
import scvi
from _integration import DATASETS, LUCID
from _measure import CACHE, Result, digest
from _worker import held_out
from anndata import AnnData

from lucidvi.atlas.integration._baselines import principal_components, seeded
from lucidvi.atlas.integration._score_integration import score_all
from lucidvi.atlas.integration._scored import scored_cells
from lucidvi.model import SCVI

#: Cells of a data set that are trained on, at most, and that are scored.
MAX_CELLS = 8_000
TOTALS = ("bio conservation", "batch correction", "total")


@cache
def read(dataset: str) -> AnnData:
    """Cells of one of :data:`_integration.DATASETS`, drawn at random where there are more."""
    adata = DATASETS[dataset].read()
    if adata.n_obs <= MAX_CELLS:
        return adata
    drawn = np.random.default_rng(0).choice(adata.n_obs, MAX_CELLS, replace=False)
    return adata[np.sort(drawn)].copy()


def mixing(
    dataset: str, seed: int, training: dict[str, Any], model: dict[str, Any] | None = None
) -> Result:
    """Train, or read what an earlier run found.

    Parameters
    ----------
    dataset
        One of :data:`_integration.DATASETS`.
    seed
        Of the training and of the sample that is scored.
    training
        Arguments of ``train``, the whole plan among them: what a preset says may change without
        that the result does.
    model
        Arguments of the model that are not its defaults.
    """
    model = model or {}
    code = [digest("src/lucidvi/[!acpst]*/*.py"), digest("src/lucidvi/train/*/*.py")]
    task = json.dumps([training, model, MAX_CELLS, code], sort_keys=True)
    key = hashlib.sha1(task.encode()).hexdigest()[:12]
    file = CACHE / "mixing" / f"{dataset}-{seed}-{key}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_measure(dataset, seed, training, model)))
    return json.loads(file.read_text())


def _measure(
    dataset: str, seed: int, training: dict[str, Any], arguments: dict[str, Any]
) -> Result:
    chosen = DATASETS[dataset]
    adata = read(dataset).copy()
    SCVI.setup_anndata(adata, batch_key=chosen.batch_key)
    scvi.settings.seed = seed
    model = SCVI(adata, **arguments)
    model.train(accelerator="cpu", enable_progress_bar=False, **training)
    result = {"n_epochs": len(model.history["elbo_train"]), **held_out(model)}
    cells = scored_cells(adata, chosen.labels_key, chosen.batch_key, MAX_CELLS, seed)
    latent = model.get_latent_representation()
    with seeded(seed):
        scores = score_all({LUCID: latent}, cells, principal_components(adata.X)).loc[LUCID]
    return result | {name: float(scores[("total", name)]) for name in TOTALS}
