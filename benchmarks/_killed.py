"""A training that may be killed at any moment, and what came out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import anndata
import numpy as np
import scvi
import torch
from anndata import AnnData
from lightning.pytorch import Callback
from scipy import sparse

#: Cells, genes, epochs, and cells a minibatch: a training of some seconds.
N_CELLS, N_GENES, N_EPOCHS, BATCH_SIZE = 400, 60, 16, 16
#: How cells in a file are shuffled: with the default buffer they would all be read at once.
IN_BLOCKS = {"buffer_size": 64, "block_size": 16}
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


@dataclass(frozen=True)
class Training:
    """What a process is told of a training.

    Parameters
    ----------
    file
        Cells, an h5ad.
    settings
        Arguments of the training.
    seed
        Of the weights at the start and all that is drawn, of a training that begins.
    is_backed
        Whether the counts stay in the file, whose cells then come block by block.
    n_processes
        How many train together.
    folder
        Of the checkpoints, one after each step; None for a training without.
    """

    file: str
    settings: dict[str, Any]
    seed: int
    is_backed: bool = False
    n_processes: int = 1
    folder: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``model.train``."""
        found = {"accelerator": "cpu", "batch_size": BATCH_SIZE, "enable_progress_bar": False}
        found |= self.settings
        if self.is_backed:
            found["datasplitter_kwargs"] = IN_BLOCKS
        if self.n_processes > 1:
            found |= {"devices": self.n_processes, "strategy": "ddp"}
        if self.folder is not None:
            found |= {"checkpoint_every": 1, "checkpoint_dir": self.folder}
            found["resume_from"] = self.folder
        return found


class Started(Callback):
    """Calls something when all processes have found each other, and a training begins."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_fit_start(self, *_: Any) -> None:
        """Call it."""
        self.call()


def train(training: Training, started: Callable[[], None] = lambda: None) -> Outcome:
    """Train a model, or go on with a training, and return all that came out of it.

    Parameters
    ----------
    training
        What to train.
    started
        Called when the training begins; never if it is over already.
    """
    from lucidvi.model import SCVI

    scvi.settings.seed = training.seed
    adata = anndata.read_h5ad(training.file, backed="r" if training.is_backed else None)
    SCVI.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    model = SCVI(adata, n_hidden=32, n_latent=5, dropout_rate=0.2)
    model.train(N_EPOCHS, callbacks=[Started(started)], **training.arguments)
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
    both = all(any("optimizer" in name for name in it) for it in (first, second))
    names = sorted({*first, *second})
    names = [name for name in names if both or "optimizer" not in name]
    return [name for name in names if not _same(first.get(name), second.get(name))]


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return False
    alike = first.shape == second.shape and first.dtype == second.dtype
    return alike and first.tobytes() == second.tobytes()
