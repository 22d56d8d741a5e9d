"""One embedding of a data set with batches: ``python benchmarks/_integration.py TASK``.

``TASK`` is JSON with the arguments of :func:`embed`; one line of JSON comes out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from _data import load
from _measure import CACHE, digest
from anndata import AnnData

FOLDER = CACHE / "integration"
N_GENES = 2_000
UNKNOWN = "unassigned"
#: Ways to embed the cells.
PCA, SCVI, LUCID = "PCA", "scVI", "LucidVI"


@dataclass(frozen=True)
class Dataset:
    """A data set with batches and cell types.

    Parameters
    ----------
    name
        Of its file.
    batch_key, labels_key
        Columns of ``obs``.
    """

    name: str
    batch_key: str = "batch"
    labels_key: str = "cell_type"

    def read(self) -> AnnData:
        """Return counts of the most variable genes; cells without a type have none."""
        adata = load(self.name, N_GENES)
        labels = adata.obs[self.labels_key].astype(str)
        adata.obs[self.labels_key] = labels.where(labels != UNKNOWN)
        return adata


DATASETS = {
    one.name: one
    for one in (
        Dataset("panc8_small"),
        Dataset("cellbench_3tech"),
        Dataset("spleen_jaitin"),
        Dataset("onek1k_40donors", "pool"),
        Dataset("pbmc_cite"),
        Dataset("lupus_t"),
    )
}


def train(adata: AnnData, batch_key: str, seed: int, way: str, train: dict[str, Any]) -> Any:
    """Train a model by its library's defaults."""
    import scvi

    import lucidvi.model

    cls = {SCVI: scvi.model.SCVI, LUCID: lucidvi.model.SCVI}[way]
    cls.setup_anndata(adata, batch_key=batch_key)
    scvi.settings.seed = seed
    model = cls(adata)
    model.train(accelerator="cpu", enable_progress_bar=False, **train)
    return model


def embed(dataset: str, seed: int, way: str, train_kwargs: dict[str, Any], file: str) -> Any:
    """Write the coordinates of all cells to a file, and return the CPU seconds that they took.

    Parameters
    ----------
    dataset
        One of :data:`DATASETS`.
    seed
        Of the training.
    way
        :data:`SCVI` or :data:`LUCID`.
    train_kwargs
        Arguments of ``train``.
    file
        Where to.
    """
    chosen = DATASETS[dataset]
    adata = chosen.read()
    train(adata.copy(), chosen.batch_key, seed, way, {"max_epochs": 1})  # compiles
    start = time.process_time()
    model = train(adata, chosen.batch_key, seed, way, train_kwargs)
    seconds = time.process_time() - start
    np.save(file, model.get_latent_representation().astype(np.float32))
    return {"seconds": seconds, "n_epochs": len(model.history["elbo_train"])}


def embedded(
    dataset: str, seed: int, way: str, train_kwargs: dict[str, Any] | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Embed in a fresh process, or read what an earlier run with the same sources did."""
    task = {
        "dataset": dataset,
        "seed": seed,
        "way": way,
        "train_kwargs": train_kwargs or {},
    }
    code = version("scvi-tools") if way == SCVI else digest("src/lucidvi/[!acps]*/*.py")
    how = [digest("benchmarks/_data.py"), os.cpu_count(), os.environ.get("OMP_NUM_THREADS")]
    key = hashlib.sha1(json.dumps([task, code, how], sort_keys=True).encode()).hexdigest()[:12]
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{dataset}-{seed}-{way}-{key}.npy"
    facts = file.with_suffix(".json")
    if not facts.exists():
        command = [sys.executable, __file__, json.dumps({**task, "file": str(file)})]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{task}\nfailed:\n{done.stderr[-3000:]}")
        facts.write_text(done.stdout.splitlines()[-1])
    return np.load(file), json.loads(facts.read_text())


def main() -> None:
    """Embed, and print one line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        result = embed(**json.loads(sys.argv[1]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
