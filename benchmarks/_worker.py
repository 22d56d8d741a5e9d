"""One measurement in a process of its own: ``python benchmarks/_worker.py TASK``.

``TASK`` is the JSON that :func:`_measure.task` makes; one line of JSON comes out.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from threading import Thread
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import scvi.model
import torch
from _data import read
from lightning.pytorch.callbacks import Callback
from scvi.model._utils import get_max_epochs_heuristic

import lucidvi.model
from lucidvi.train import PRESETS

MODELS = {"scvi": scvi.model.SCVI, "lucidvi": lucidvi.model.SCVI}
N_ELBO = 5
N_IMPORTANCE = 100
SMI = "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 200 -i 0"


class Clock(Callback):
    """Times at which the epochs start and the last one ends."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.busy: list[float] = []
        self._sampler: subprocess.Popen[str] | None = None

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        """Note the time; from the second epoch on, also how busy the GPU is."""
        self._note()
        if len(self.times) == 2 and trainer.strategy.root_device.type == "cuda":
            self._sampler = subprocess.Popen(SMI.split(), stdout=subprocess.PIPE, text=True)
            Thread(target=self._sample, daemon=True).start()

    def on_train_end(self, *_: Any) -> None:
        """Note the time."""
        self._note()
        if self._sampler is not None:
            self._sampler.terminate()

    def _note(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def _sample(self) -> None:
        assert self._sampler is not None
        for line in self._sampler.stdout or ():
            with contextlib.suppress(ValueError):
                self.busy.append(float(line) / 100)


def reset_peak() -> None:
    """Let the peak of memory start from now, where the kernel can (Linux)."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Peak resident memory in MiB.

    Linux hands ``ru_maxrss`` down from the process that started this one, and cannot reset it;
    so its own status comes first.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def train(task: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Make a model, train it, and say how long that took."""
    adata = read(task["data"])
    cls = MODELS[task["library"]]
    cls.setup_anndata(adata, batch_key="batch" if "pool" in task["data"] else None)
    scvi.settings.seed = task["split"]  # the split is drawn from it, again at each training
    if task["seed"] != task["split"]:
        torch.manual_seed(task["seed"])
    model = cls(adata, **task["model"])
    clock = Clock()
    # One thread is timed by what it computes: it may have company.
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    reset_peak()
    before = peak_mib()
    start = now()
    model.train(
        accelerator=task["accelerator"],
        enable_progress_bar=False,
        callbacks=[clock],
        **task["train"],
    )
    seconds, epochs = now() - start, np.diff(clock.times)
    return model, {
        "seconds": seconds,
        "first_epoch": epochs[0],
        "epochs": epochs[1:].tolist(),
        "n_epochs": len(epochs),
        "n_steps": len(epochs) * -(-len(model.train_indices) // batch_size(task)),
        "rss_before": before,
        "rss_peak": peak_mib(),
        **gpu_use(clock),
    }


def gpu_use(clock: Clock) -> dict[str, Any]:
    """Name, busy share and peak memory (MiB) of the GPU, if one was used."""
    if not torch.cuda.is_initialized():
        return {}
    return {
        "gpu": torch.cuda.get_device_name(),
        "gpu_busy": float(np.mean(clock.busy)) if clock.busy else None,
        "gpu_peak": torch.cuda.max_memory_allocated() / 2**20,
    }


def preset_of(task: dict[str, Any], n_cells: int | None = None) -> Any:
    """LucidVI's preset that the task trains with, or the one that is as scvi-tools trains."""
    chosen = "scvi" if task["library"] == "scvi" else task["train"].get("preset", "lucid")
    return PRESETS[chosen](n_cells, 1)


def batch_size(task: dict[str, Any]) -> int:
    """Cells a minibatch."""
    default = scvi.settings.batch_size if task["library"] == "scvi" else preset_of(task).batch_size
    return task["train"].get("batch_size") or default


def default_epochs(task: dict[str, Any], n_cells: int) -> int:
    """Epochs of a training that leaves ``max_epochs`` open."""
    if task["library"] == "scvi":
        return int(get_max_epochs_heuristic(n_cells))
    return preset_of(task, n_cells).max_epochs(n_cells)


def saved(task: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Load a model that scvi-tools trained elsewhere."""
    folder = Path(task["reference"])
    adata, cls = read(task["data"]), scvi.model.SCVI
    genes = cls.prepare_query_anndata(adata, str(folder), return_reference_var_names=True)
    if set(genes) != set(adata.var_names):
        raise SystemExit(f"{folder} was trained on other genes.")
    model = cls.load(str(folder), adata[:, genes].copy(), accelerator="cpu")
    if model.module.gene_likelihood != task["model"]["gene_likelihood"]:
        raise SystemExit(f"{folder} has likelihood {model.module.gene_likelihood!r}.")
    n_epochs = len(model.history["elbo_train"])
    n_steps = n_epochs * -(-len(model.train_indices) // batch_size(task))
    return model, {"n_epochs": n_epochs, "n_steps": n_steps}


def held_out(model: Any) -> dict[str, Any]:
    """ELBO and importance-weighted log p(x) of the validation cells, in nats a cell.

    Both by LucidVI's estimators, whichever library trained the model.
    """
    if isinstance(model, scvi.model.SCVI):
        model = lucidvi.model.SCVI.from_scvi_model(model)
    cells = np.sort(model.validation_indices)
    torch.manual_seed(0)
    elbo = [float(model.get_elbo(indices=cells)) for _ in range(N_ELBO)]
    log_px = model.get_marginal_ll(indices=cells, n_mc_samples=N_IMPORTANCE)
    return {
        "elbo": float(np.mean(elbo)),
        "log_px": float(log_px),
        "cells": hashlib.sha1(cells.astype(np.int64).tobytes()).hexdigest()[:12],
    }


def is_first() -> bool:
    """Whether this process speaks for those that train together."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Do what the task says."""
    model, result = (saved if task["reference"] else train)(task)
    if not is_first():
        return {}
    result["batch_size"] = batch_size(task)
    result["default_epochs"] = default_epochs(task, model.adata.n_obs)
    result["threads"] = torch.get_num_threads()
    if task["evaluate"]:
        result |= held_out(model)
    if task["labels"]:
        from _bio import bio_conservation  # needs JAX, which would add to the memory

        latent = model.get_latent_representation()
        result["bio"] = bio_conservation(latent, model.adata.obs[task["labels"]].to_numpy())
    return result


def main() -> None:
    """Measure, and print one line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(json.loads(sys.argv[1]))
    if is_first():
        print(json.dumps(result))


if __name__ == "__main__":
    main()
