"""Training a model again with other seeds, in processes of their own."""

from __future__ import annotations

import inspect
import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from joblib.externals.loky import ProcessPoolExecutor
from scvi.model.base import BaseModelClass

from lucidvi._random import isolated
from lucidvi.audit.cures._making import init_arguments, preset_of
from lucidvi.audit.retraining._across_runs import Run
from lucidvi.audit.subject import Sample, Subject
from lucidvi.data import (
    is_joined,
    opened_again,
    portable,
    read_modalities,
    write_modalities,
)
from lucidvi.errors import DataError, TrainingError
from lucidvi.inference import canonical_axes

#: Counts a cell that are added to the expected expression before its logarithm is taken, so that
#: genes that are hardly there do not have the largest fold changes.
PSEUDO_COUNT = 0.1
#: One thread a process: sums are then in the same order however many processes there are.
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True, eq=False)
class PortableCells:
    """What a process needs to have the AnnData, without what training does not look at.

    Parameters
    ----------
    matrices
        Counts and further matrices, by slot and name, those in files by where they are.
    obs, var
        Tables of cells and genes.
    modalities
        What was measured in which cells, by name; empty where all was in all.
    """

    matrices: dict[str, dict[str, Any]]
    obs: pd.DataFrame
    var: pd.DataFrame
    modalities: Mapping[str, Any]

    @classmethod
    def of(cls, adata: AnnData, setup: Mapping[str, Any]) -> PortableCells:
        """Take what is needed of an AnnData, from the arguments with which it was set up."""
        layer = setup.get("layer")
        names = [name for name in setup.values() if isinstance(name, str) and name in adata.obsm]
        matrices = {
            "X": {} if layer is not None else {"X": portable(adata.X)},
            "layers": {} if layer is None else {layer: portable(adata.layers[layer])},
            "obsm": {name: portable(adata.obsm[name]) for name in names},
        }
        modalities = read_modalities(adata) if is_joined(adata) else {}
        return cls(matrices, adata.obs, adata.var, modalities)

    def open(self) -> AnnData:
        """Return the AnnData, which nobody else holds."""
        slots = {
            slot: {name: opened_again(matrix) for name, matrix in matrices.items()}
            for slot, matrices in self.matrices.items()
        }
        adata = AnnData(
            slots["X"].get("X"),
            obs=self.obs,
            var=self.var,
            layers=slots["layers"],
            obsm=slots["obsm"],
        )
        if self.modalities:
            write_modalities(adata, self.modalities)
        return adata


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to make and train a model, and how to look at it.

    Parameters
    ----------
    model_cls
        Class of the model.
    init, train
        Arguments of the constructor and of ``train``.
    registry
        Registry of the data, see ``model.registry_``.
    cells
        The data to train with.
    sample
        Cells to look at.
    groups
        Positions in the sample of two groups of cells, or none.
    seed
        Seed of what is random in looking.
    """

    model_cls: type[BaseModelClass]
    init: dict[str, Any]
    train: dict[str, Any]
    registry: dict[str, Any]
    cells: PortableCells
    sample: Sample
    groups: tuple[np.ndarray, ...]
    seed: int

    @classmethod
    def of(
        cls,
        model: BaseModelClass,
        adata: AnnData,
        sample: Sample,
        groups: tuple[np.ndarray, ...],
        train: dict[str, Any],
        seed: int,
    ) -> Recipe:
        """Take all but the data from a model."""
        registry = deepcopy(model.registry_)
        cells = PortableCells.of(adata, registry["setup_args"])
        init = init_arguments(model)
        return cls(type(model), init, train, registry, cells, sample, groups, seed)

    def model(self) -> BaseModelClass:
        """Make the model, not trained."""
        adata = self.cells.open()
        setup = getattr(self.model_cls, self.registry.get("setup_method_name", "setup_anndata"))
        setup(adata, source_registry=self.registry, **self.registry["setup_args"])
        return self.model_cls(adata, **self.init)


def training_of(model: BaseModelClass, train_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a training as long as that of a model was.

    Parameters
    ----------
    model
        Its history tells the number of epochs and, for LucidVI's, the preset. A model that was
        made from a trained one has only the last epochs in its history, so it is trained as long
        as scvi-tools trains one from the start.
    train_kwargs
        Arguments of ``train`` that take precedence.
    """
    arguments: dict[str, Any] = {"enable_progress_bar": False}
    if model.module.device.type == "cpu":
        arguments["accelerator"] = "cpu"
    history = getattr(model, "history_", None) or {}
    if "max_epochs" not in train_kwargs and not getattr(model, "was_pretrained", False):
        if "elbo_train" not in history:
            raise DataError(
                "`model` has no history that tells how long it was trained.",
                remedy="Train it, or say how long: `stability(model, train_kwargs="
                "{'max_epochs': 40})`.",
            )
        arguments["max_epochs"] = len(history["elbo_train"])
    if "preset" in inspect.signature(type(model).train).parameters:
        arguments["preset"] = preset_of(history)
    return arguments | dict(train_kwargs)


def look(
    model: BaseModelClass,
    adata: AnnData,
    sample: Sample,
    groups: tuple[np.ndarray, ...],
    seed: int,
) -> Run:
    """See the sample's cells as a model does."""
    subject = Subject(model, adata, sample, seed)
    with isolated(seed, model.module):
        targets = (target for _, target in subject.targets(subject.everyone))
        directions = canonical_axes(targets)[0]
        n_used = subject.n_used
        change = fold_change(subject, groups) if groups else None
        return Run(subject.latent.loc, directions, n_used, change)


def fold_change(subject: Subject, groups: tuple[np.ndarray, ...]) -> np.ndarray:
    r"""Log fold change of the expected expression between two groups of cells.

    .. math:: \log \frac{\bar\rho_{1g} + \epsilon}{\bar\rho_{2g} + \epsilon}

    where :math:`\rho_{ng} = \mu_{ng} / \sum_g \mu_{ng}` is decoded from the posterior mean, the
    bar is the mean over a group's cells, and :math:`\epsilon` is a tenth of a count in a cell of
    median depth. Deterministic, unlike ``differential_expression``.

    Returns
    -------
    Shape ``(n_genes,)``, natural logarithm.
    """
    epsilon = PSEUDO_COUNT / max(np.median(subject.total), 1)
    first, second = (np.log(_mean_share(subject, cells) + epsilon) for cells in groups)
    return first - second


def _mean_share(subject: Subject, positions: np.ndarray) -> np.ndarray:
    total = np.zeros(subject.n_genes)
    with torch.no_grad():
        for _, target in subject.targets(positions):
            shares = target.likelihood(target.q0.mean).log_mean.double().softmax(dim=1)
            total += shares.sum(dim=0).cpu().numpy()
    return total / len(positions)


@dataclass(frozen=True)
class Failure:
    """What went wrong in a process; not the exception, which may not survive the way here."""

    error: str


def retrained(recipe: Recipe, seed: int) -> Run | Failure:
    """Train a model with a seed and look at it; runs in a process of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first training gave them
            scvi.settings.seed = seed
            model = recipe.model()
            model.train(**recipe.train)
            return look(model, model.adata, recipe.sample, recipe.groups, recipe.seed)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


def prepare_process() -> None:
    """Make a process quiet, with one thread, and leave Ctrl-C to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning.fabric", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)


def retrainings(recipe: Recipe, seeds: Sequence[int], n_jobs: int) -> Iterator[tuple[int, Run]]:
    """Train with each seed, ``n_jobs`` at a time, and yield the runs as they end.

    Raises
    ------
    lucidvi.errors.TrainingError
        If one fails, which ends all.
    """
    pool = ProcessPoolExecutor(n_jobs, initializer=prepare_process, env=ENVIRONMENT)
    try:
        futures = {pool.submit(retrained, recipe, seed): seed for seed in seeds}
        for future in as_completed(futures):
            error = future.exception()
            run = Failure(f"its process ended ({error})") if error else future.result()
            if isinstance(run, Failure):
                raise TrainingError(
                    f"The retraining with seed {futures[future]} failed: {run.error}",
                    remedy="See it fail alone: `scvi.settings.seed = "
                    f"{futures[future]}; model.train()` of a new model. If memory ran out, "
                    "use `n_jobs=1`.",
                )
            yield futures[future], run
    finally:
        pool.shutdown(kill_workers=True)
