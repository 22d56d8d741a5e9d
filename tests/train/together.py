"""Trainings by two processes, or by one: ``python together.py FOLDER DEVICES``.

What each process has in the end is in ``FOLDER/DEVICES-RANK.pt``.
"""

import contextlib
import os
import signal
import sys
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from lightning.pytorch import Callback
from scipy import sparse
from torch.distributions import Normal

import lucidvi.module._base
import lucidvi.module._vae
from lucidvi.errors import LucidVIError
from lucidvi.model import MOSAICVI, SCVI

FOLDER, DEVICES = Path(), 1
if __name__ == "__main__":
    FOLDER, DEVICES = Path(sys.argv[1]), int(sys.argv[2])
RANK = int(os.environ.get("LOCAL_RANK", 0))
FAST = {
    "accelerator": "cpu",
    "devices": DEVICES,
    "batch_size": 8,
    "train_size": 41 / 60,
    "validation_size": 17 / 60,
    "enable_progress_bar": False,
} | ({"strategy": "ddp"} if DEVICES > 1 else {})
#: Ways to train; minibatches of 8 of 41 cells leave one cell over, of 5 of 17 to validate two.
WAYS = {
    "plain": {},
    "by_label": {"model": {"dispersion": "gene-label", "gene_likelihood": "nb"}},
    "library": {"model": {"use_observed_lib_size": False, "gene_likelihood": "poisson"}},
    "one_a_step": {"plan": {"minibatches_per_step": 1}},
    "accumulated": {"train": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}},
    "free_bits": {"plan": {"free_bits": 2.0, "kl_warmup": 0.0}},
    "mean_norm": {"plan": {"mean_norm": 0.5}},
    "encoder_first": {"plan": {"encoder_steps": 1}},
    "vamp": {"model": {"prior": "vamp", "prior_kwargs": {"n_components": 30}}},
    "aligned": {"model": {"prior": "conditional"}, "plan": {"align_axes": (0.0, 1.0)}},
    "scvi": {"train": {"preset": "scvi"}},
    "two_layers": {"model": {"n_layers": 2}},
}


def cells(n_cells=60, n_genes=12):
    rng = np.random.default_rng(0)
    group = np.arange(n_cells) % 2
    rate = rng.gamma(1.0, 2.0, (2, n_genes))[group] * rng.gamma(4.0, 0.25, (n_cells, 1))
    counts = rng.poisson(rate).astype(np.float32)
    counts[:, 0] = np.arange(n_cells) + 1  # which cell it is
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(rng.integers(2, size=n_cells)).rename_categories(str),
            "label": pd.Categorical(group).rename_categories(str),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    return AnnData(sparse.csr_matrix(counts), obs)


class Record(Callback):
    """Cells of each epoch, and what a callback does besides."""

    def __init__(self, act=lambda *_: None):
        self.epochs, self.act = [], act

    def on_train_epoch_start(self, trainer, plan):
        self.epochs.append([])

    def on_train_batch_start(self, trainer, plan, batch, index):
        batches = batch if isinstance(batch, list) else [batch]
        own = [plan.ranks.weight(*plan.n_cells_of(batch)) > 0 for batch in batches]
        found = [batch["X"].to_dense()[:, 0].long() for batch in batches]
        self.epochs[-1] += [
            x.tolist() if counts else [] for x, counts in zip(found, own, strict=True)
        ]
        self.act(trainer, plan, batches)


def make(seed=0, **kwargs):
    adata = cells()
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    scvi.settings.seed = seed
    return SCVI(adata, n_hidden=8, n_latent=2, **{"dropout_rate": 0.0} | kwargs)


def mosaic():
    """Cells of which six have a second modality: in many a minibatch none, or one process's."""
    first, second = cells(), cells(n_genes=5)[:6].copy()
    del second.obs["batch"]
    second.var_names = [f"p{i}" for i in range(5)]
    data = mudata.MuData({"rna": first, "prot": second})
    data.obs["batch"] = first.obs["batch"].reindex(data.obs_names)
    kinds = {"rna": "rna", "prot": {"kind": "protein", "measured": "all"}}
    MOSAICVI.setup_mudata(data, kinds, batch_key="batch")
    scvi.settings.seed = 0
    without = {"dropout_rate": 0.0, "modality_dropout": 0.0}
    return MOSAICVI(data, n_hidden=8, n_latent=2, **without)


def seen(model, record):
    return {
        "weights": model.module.state_dict(),
        "history": {name: table.to_numpy() for name, table in (model.history or {}).items()},
        "splits": [model.train_indices, model.validation_indices, model.test_indices],
        "trained": model.is_trained_,
        "mode": model.module.training,
        "draw": torch.rand(3),
        "epochs": record.epochs,
    }


def train(model, n_epochs=2, act=lambda *_: None, **kwargs):
    record = Record(act)
    try:
        model.train(n_epochs, callbacks=[record], **FAST | kwargs)
    except (LucidVIError, ValueError, KeyboardInterrupt) as error:
        return seen(model, record) | {"error": f"{type(error).__name__}: {error}"}
    return seen(model, record) | {"error": ""}


@contextlib.contextmanager
def without_draws():
    """Take the means of posteriors for their draws, so that nothing is left to chance."""
    modules = lucidvi.module._base, lucidvi.module._vae
    draw = modules[0].draw
    for module in modules:
        module.draw = lambda q, n_samples=1: q.loc if isinstance(q, Normal) else q.mean
    yield
    for module in modules:
        module.draw = draw


def fill(batches, value):
    for batch in batches:
        batch["X"].values().fill_(value)


def main():
    results = {}
    with without_draws():
        for name, way in WAYS.items():
            model = make(**way.get("model", {}))
            kwargs = {"plan_kwargs": way.get("plan")} | way.get("train", {})
            results[name] = train(model, check_val_every_n_epoch=1, **kwargs)
        results["mosaic"] = train(mosaic(), check_val_every_n_epoch=1)
    if DEVICES > 1:
        results |= of_several()
    torch.save(results, FOLDER / f"{DEVICES}-{RANK}.pt")


def of_several():
    results = {}
    # Each process draws a seed of its own where a script sets none.
    model = make(seed=RANK + 1, dropout_rate=0.1)
    results["unseeded"] = train(model)
    scvi.settings.seed = 0
    stopping = {
        "early_stopping": True,
        "early_stopping_patience": 2,
        "early_stopping_min_delta": 1e6,
    }
    results["early"] = train(make(), 20, **stopping)
    model = make()
    results["saved"] = train(model)
    model.save(str(FOLDER / "model"))
    model.trainer.strategy.barrier()
    loaded = SCVI.load(str(FOLDER / "model"), cells(), accelerator="cpu")
    results["latent"] = [m.get_latent_representation() for m in (model, loaded)]

    def spoil(trainer, plan, batches):
        if RANK == 1 and trainer.current_epoch == 1:
            fill(batches, torch.inf)

    results["infinite"] = train(make(), 3, spoil)
    results["after"] = train(make(), 1)

    def interrupt(trainer, plan, batches):
        if RANK == 1 and trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    results["stopped"] = train(make(), 500, interrupt)

    def fail(trainer, plan, batches):
        if RANK == 1 and trainer.current_epoch == 1:
            raise ValueError("a callback's own")

    results["failed"] = train(make(), 3, fail)
    return results


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Last batch will have a small size of 1 samples")
    main()
