"""A training by two processes that is killed as it is told: ``python together.py FOLDER KILL``.

The last one, which nobody kills, also trains once more without interruption, and writes what is
not the same to ``FOLDER/RANK.json``, with the cells of each epoch.
"""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from anndata import AnnData, read_h5ad
from lightning.pytorch.callbacks import Callback
from runs import FAST, differences, make_model, outcome  # beside this script
from scipy import sparse

from lucidvi.files import _atomic

FOLDER, KILL = Path(sys.argv[1]), sys.argv[2]
RANK = int(os.environ.get("LOCAL_RANK", 0))
N_CELLS = 120


def die(*, alone):
    """End this process, or all of them, which have a group of their own."""
    (FOLDER / f"{KILL} was killed").touch()
    if alone:
        os.kill(os.getpid(), signal.SIGKILL)
    os.killpg(os.getpgid(0), signal.SIGKILL)


class Die(Callback):
    """Kills at a hook, after so many updates."""

    def __init__(self, hook, n_updates, alone):
        setattr(
            self, hook, lambda trainer, *_: trainer.global_step < n_updates or die(alone=alone)
        )


def while_writing(n, flush=_atomic._flush):
    """Kill the process as it flushes files and folders of checkpoints for the nth time."""
    calls = []

    def killed(path):
        calls.append(path)
        if len(calls) == n:
            die(alone=True)
        flush(path)

    _atomic._flush = killed


class Record(Callback):
    """Cells of each epoch; of training, those of a minibatch of which the process has a share."""

    def __init__(self):
        self.trained, self.validated = [], []

    def note(self, epochs, plan, batch):
        for one in batch if isinstance(batch, list) else [batch]:
            if plan.ranks.weight(*plan.n_cells_of(one)) > 0:
                epochs[-1] += one["X"].to_dense()[:, 0].int().tolist()

    def on_train_epoch_start(self, *_):
        self.trained.append([])

    def on_train_batch_start(self, trainer, plan, batch, *_):
        self.note(self.trained, plan, batch)

    def on_validation_epoch_start(self, *_):
        self.validated.append([])

    def on_validation_batch_start(self, trainer, plan, batch, *_):
        self.note(self.validated, plan, batch)


def train(seed, draws, **kwargs):
    counts = np.random.default_rng(0).poisson(2.0, (N_CELLS, 15)) * 1.0
    counts[:, 0] = np.arange(N_CELLS)  # which cell it is
    cells = AnnData(sparse.csr_matrix(counts))
    cells.obs["batch"] = np.resize(["a", "b"], N_CELLS)
    file = FOLDER / "cells.h5ad"
    if not file.exists():  # the first process starts the second, which finds it
        cells.write_h5ad(file)

    class File:
        def copy(self):
            return read_h5ad(file, backed="r")

    model = make_model(File(), seed=seed, dropout_rate=0.2)
    torch.manual_seed(draws)
    model.train(
        **FAST,
        devices=2,
        strategy="ddp",
        train_size=95 / N_CELLS,
        check_val_every_n_epoch=1,
        # In blocks; the last minibatch of 25 cells to validate is one cell for two processes.
        datasplitter_kwargs={"buffer_size": 32, "block_size": 8},
        **kwargs,
    )
    return model


KILLS = {
    "both within an epoch": lambda: [Die("on_train_batch_end", 10, alone=False)],
    "the first while it writes": lambda: while_writing(4) if RANK == 0 else None,
    "the second alone": lambda: [Die("on_validation_epoch_end", 24, alone=True)] if RANK else [],
    "nobody": lambda: None,
}


def main():
    callbacks = KILLS[KILL]() or []
    record, place = Record(), FOLDER / "run"
    # Each of those who go on has a seed of its own, and draws otherwise.
    seed = list(KILLS).index(KILL)
    checkpoints = {"checkpoint_every": 1, "checkpoint_dir": place, "resume_from": place}
    model = train(seed, 10 * seed + RANK, callbacks=callbacks, **checkpoints)
    got = outcome(model)
    model = train(0, RANK, callbacks=[record])
    found = {
        "differences": differences(outcome(model), got),
        "is_compared": sorted({name.split()[0] for name in got}),
        "trained": record.trained,
        "validated": record.validated,
        "splits": [model.train_indices.tolist(), model.validation_indices.tolist()],
    }
    (FOLDER / f"{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
