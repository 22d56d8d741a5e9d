"""A training that may be killed at any moment, and what came out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import anndata
import numpy as np
import scvi
import torch
from anndata import AnnData
from scipy import sparse

#: Cells, genes, epochs, and cells a minibatch: a training of some seconds.
N_CELLS, N_GENES, N_EPOCHS, BATCH_SIZE = 400, 60, 16, 16
#: Settings of trainings, in turn.
SETTINGS: dict[str, dict[str, Any]] = {
    "validation": {"check_val_every_n_epoch": 1},
    "early stopping": {"early_stopping": True, "early_stopping_patience": 4},
    "scvi-tools' preset": {"preset": "scvi", "check_val_every_n_epoch": 2},
    "one minibatch a step": {"gradient_clip_val": 10.0, "check_val_every_n_epoch": 1},
    "mean norm": {"plan_kwargs": {"mean_norm": 0.5}, "check_val_every_n_epoch": 3},
}

Outcome = dict[str, Any]


def cells(seed: int) -> AnnData:
    """Simulate counts of two groups of cells in three batches, with an age."""
    rng = np.random.default_rng(seed)
    group = rng.integers(2, size=N_CELLS)
    rate = rng.gamma(1.0, 2.0, (2, N_GENES))[group] * rng.gamma(4.0, 0.25, (N_CELLS, 1))
    adata = AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    adata.obs["batch"] = np.resize(["a", "b", "c"], N_CELLS)
    adata.obs["age"] = rng.normal(size=N_CELLS)
    return adata


def in_memory(file: Path) -> AnnData:
    """Read cells into memory."""
    return anndata.read_h5ad(file)


def from_a_file(file: Path) -> AnnData:
    """Read cells whose counts stay in the file."""
    return anndata.read_h5ad(file, backed="r")


def train(
    read: Callable[[Path], AnnData],
    file: Path,
    settings: dict[str, Any],
    seed: int,
    folder: Path | None = None,
    started: Callable[[], None] = lambda: None,
) -> Outcome:
    """Train a model, or go on with a training, and return all that came out of it.

    Parameters
    ----------
    read, file
        Where the cells are.
    settings
        Arguments of the training.
    seed
        Of the weights at the start and all that is drawn, of a training that begins.
    folder
        Of the checkpoints, one after each step; None for a training without.
    started
        Called before the training.
    """
    from lucidvi.model import SCVI

    scvi.settings.seed = seed
    adata = read(file)
    SCVI.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    model = SCVI(adata, n_hidden=32, n_latent=5, dropout_rate=0.2)
    checkpoints = {}
    if folder is not None:
        checkpoints = {"checkpoint_every": 1, "checkpoint_dir": folder, "resume_from": folder}
    started()
    model.train(
        N_EPOCHS,
        accelerator="cpu",
        batch_size=BATCH_SIZE,
        enable_progress_bar=False,
        **settings,
        **checkpoints,
    )
    return outcome(model)


def outcome(model: Any) -> Outcome:
    """Return weights, history, splits, generators and, of a model that trained, the optimizer."""
    found: Outcome = {f"weights/{name}": w for name, w in model.module.state_dict().items()}
    for name, frame in model.history.items():
        found[f"history/{name}"] = frame[name].to_numpy(dtype=float)
        found[f"history/{name}/index"] = frame.index.to_numpy(dtype=int)
    for name in ("train_indices", "validation_indices", "test_indices"):
        found[f"splits/{name}"] = np.asarray(getattr(model, name))
    found["generators/torch"] = torch.get_rng_state()
    found["generators/numpy"] = np.random.get_state()[1]  # noqa: NPY002
    trainer = getattr(model, "trainer", None)
    if trainer is not None:
        for i, state in trainer.optimizers[0].state_dict()["state"].items():
            found |= {f"optimizer/{i}/{name}": value for name, value in state.items()}
    return {name: np.asarray(values) for name, values in found.items()}


def differences(first: Outcome, second: Outcome) -> list[str]:
    """Name what is not the same, bit for bit; of optimizers, where both have one."""
    both = all(any(name.startswith("optimizer") for name in it) for it in (first, second))
    names = sorted({*first, *second})
    names = [name for name in names if both or not name.startswith("optimizer")]
    return [name for name in names if not _same(first.get(name), second.get(name))]


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return False
    alike = first.shape == second.shape and first.dtype == second.dtype
    return alike and first.tobytes() == second.tobytes()
